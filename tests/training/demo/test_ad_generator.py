import random

import pytest

from app.training.demo.ad_generator import AdGenerator, KindShares
from app.training.demo.german_phrasing import swiss
from app.training.demo.job_families import JobFamily
from app.training.demo.job_titles import TitleForms
from app.training.demo.occupations import JobTitle, read_catalog
from app.training.demo.templates import requirements
from tests.support.tiny_occupations import write_occupation_tables

LEVELS = ("none", "vocational", "advanced", "master")
KITCHEN = JobFamily(
    tasks=("Fleisch parieren und große Braten garen", "Saucen ziehen"),
    fields=("Küche",),
    trainings=("Koch",),
    further=("Küchenmeister",),
    studies=("Ernährung",),
)
COOK = JobTitle(TitleForms("Koch", "Köchin"), "29302", "cooking", "vocational", "own")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return read_catalog(write_occupation_tables(tmp_path_factory.mktemp("shared")))


def generator(catalog, seed=1, shares=KindShares()):  # noqa: B008 (frozen)
    return AdGenerator(catalog, {"29": KITCHEN}, random.Random(seed), shares)  # noqa: S311


def composed(catalog, job, count=300, seed=1):
    ads = generator(catalog, seed)
    return [ads.compose(job, long=number % 2 == 0) for number in range(count)]


def stated_in(pools):
    """Return the fixed starts of sentences, if long enough to be recognised in an ad."""
    starts = {sentence.split("{")[0].strip() for pool in pools for sentence in pool}
    return {swiss(start) for start in starts if len(start) > 24}


def test_the_same_seed_gives_the_same_ads(catalog):
    assert composed(catalog, COOK, 20, seed=3) == composed(catalog, COOK, 20, seed=3)
    assert composed(catalog, COOK, 20, seed=3) != composed(catalog, COOK, 20, seed=4)


@pytest.mark.parametrize("level", LEVELS)
def test_requirement_sentences_agree_with_the_label(catalog, level):
    """A sentence of one level never appears in an ad of another label."""
    pools = {
        name: stated_in(p for (key, _), p in requirements.STATED.items() if key == name)
        for name in LEVELS
    }
    others = {text for name in LEVELS if name != level for text in pools[name]}
    only = {t for t in pools[level] if not any(o in t or t in o for o in others)}
    checked = 0
    for row in composed(catalog, COOK):
        flat = swiss(" ".join(row.text.split()))
        if any(text in flat for text in only):
            checked += 1
            assert row.min_education == level
    # A trained occupation almost never asks for a master's degree.
    assert checked or level == "master"


def test_a_welcome_degree_does_not_raise_the_label(catalog):
    welcome = {"Masterabschluss wünschenswert", "Ein Bachelorabschluss wäre ein Plus"}
    rows = [row for row in composed(catalog, COOK, 1500) if any(w in row.text for w in welcome)]
    assert rows
    assert not [row for row in rows if row.min_education == "master"]


def test_only_german_ads_have_a_sharp_s(catalog):
    def texts(country):
        job = JobTitle(COOK.forms, COOK.code, "cooking", "vocational", "own", "", country)
        return " ".join(row.title + row.text for row in composed(catalog, job, 80))

    assert "ß" not in texts("CH")
    assert "ß" in texts("DE")


def test_some_ads_lack_sections_or_the_title(catalog):
    rows = composed(catalog, COOK)
    assert 0.2 < sum(not row.title for row in rows) / len(rows) < 0.6
    assert any("Saucen" not in row.text and "Braten" not in row.text for row in rows)
    assert all(row.text for row in rows)


def test_every_kind_of_row_has_text_and_a_group(catalog):
    ads = generator(catalog)
    rows = [ads.generate(COOK) for _ in range(300)]
    assert {row.kind for row in rows} == {"title", "line", "description", "short", "long"}
    assert {row.group for row in rows} == {"29302"}
    assert all(row.text.strip() for row in rows)


def test_the_shares_decide_the_kinds(catalog):
    ads = generator(catalog, shares=KindShares(title=0, line=0, description=0, long=1))
    assert {ads.generate(COOK).kind for _ in range(30)} == {"long"}


def test_employers_are_independent_of_the_category(catalog):
    text = " ".join(row.text for row in composed(catalog, COOK))
    assert "Krankenhaus" in text
    assert "Softwarehaus" in text
