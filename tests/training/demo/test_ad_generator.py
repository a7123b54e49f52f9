import random

import pytest

from app.training.demo import german_phrasing as wording
from app.training.demo.ad_generator import AdWriter, Mix
from app.training.demo.job_families import Family, merge_titles
from app.training.demo.job_titles import Forms
from app.training.demo.occupations import JobTitle, read_catalog
from app.training.demo.templates import requirements
from tests.support.tiny_occupations import write_occupation_tables

LEVELS = ("none", "vocational", "advanced", "master")
KITCHEN = Family(
    tasks=("Fleisch parieren und große Braten garen", "Saucen ziehen"),
    fields=("Küche",),
    trainings=("Koch",),
    further=("Küchenmeister",),
    studies=("Ernährung",),
)
COOK = JobTitle(Forms("Koch", "Köchin"), "29302", "cooking", "vocational", "own")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return read_catalog(write_occupation_tables(tmp_path_factory.mktemp("shared")))


def writer(catalog, seed=1, mix=Mix()):  # noqa: B008 (frozen)
    return AdWriter(catalog, {"29": KITCHEN}, random.Random(seed), mix)  # noqa: S311


def composed(catalog, job, count=300, seed=1):
    writes = writer(catalog, seed)
    return [writes.compose(job, long=number % 2 == 0) for number in range(count)]


def stated_in(pools):
    """Return the fixed beginnings of sentences, long enough to be recognised in an ad."""
    heads = {sentence.split("{")[0].strip() for pool in pools for sentence in pool}
    return {wording.swiss(head) for head in heads if len(head) > 24}


def test_the_same_seed_gives_the_same_ads(catalog):
    assert composed(catalog, COOK, 20, seed=3) == composed(catalog, COOK, 20, seed=3)
    assert composed(catalog, COOK, 20, seed=3) != composed(catalog, COOK, 20, seed=4)


@pytest.mark.parametrize("level", LEVELS)
def test_a_requirement_sentence_stands_under_its_own_label(catalog, level):
    """A sentence of one level never appears in an ad of another label."""
    pools = {
        name: stated_in(p for (key, _), p in requirements.STATED.items() if key == name)
        for name in LEVELS
    }
    others = {text for name in LEVELS if name != level for text in pools[name]}
    only = {t for t in pools[level] if not any(o in t or t in o for o in others)}
    checked = 0
    for row in composed(catalog, COOK):
        flat = wording.swiss(" ".join(row.text.split()))
        if any(text in flat for text in only):
            checked += 1
            assert row.min_education == level
    # A trained occupation almost never asks for a master's degree.
    assert checked or level == "master"


def test_a_degree_which_is_only_welcome_does_not_raise_the_label(catalog):
    welcome = {"Masterabschluss wünschenswert", "Ein Bachelorabschluss wäre ein Plus"}
    rows = [row for row in composed(catalog, COOK, 1500) if any(w in row.text for w in welcome)]
    assert rows
    assert not [row for row in rows if row.min_education == "master"]


def test_swiss_ads_have_no_sharp_s_and_german_ads_keep_it(catalog):
    def texts(country):
        job = JobTitle(COOK.forms, COOK.code, "cooking", "vocational", "own", "", country)
        return " ".join(row.title + row.text for row in composed(catalog, job, 80))

    assert "ß" not in texts("CH")
    assert "ß" in texts("DE")


def test_sections_and_titles_are_missing_now_and_then(catalog):
    rows = composed(catalog, COOK)
    assert 0.2 < sum(not row.title for row in rows) / len(rows) < 0.6
    assert any("Saucen" not in row.text and "Braten" not in row.text for row in rows)
    assert all(row.text for row in rows)


def test_every_kind_of_row_has_text_and_its_occupation_as_group(catalog):
    writes = writer(catalog)
    rows = [writes.write(COOK) for _ in range(300)]
    assert {row.kind for row in rows} == {"title", "line", "description", "short", "long"}
    assert {row.group for row in rows} == {"29302"}
    assert all(row.text.strip() for row in rows)


def test_the_mix_decides_the_kinds(catalog):
    writes = writer(catalog, mix=Mix(title=0, line=0, description=0, long=1))
    assert {writes.write(COOK).kind for _ in range(30)} == {"long"}


def test_the_employer_does_not_decide_the_category(catalog):
    text = " ".join(row.text for row in composed(catalog, COOK))
    assert "Krankenhaus" in text
    assert "Softwarehaus" in text


def test_a_task_is_worded_in_several_styles():
    assert wording.task_line("Kunden beraten", "sie") == "Sie beraten Kunden"
    assert wording.task_line("Ware ausliefern", "sie") == "Sie liefern Ware aus"
    assert wording.task_line("Kunden beraten", "noun") == "Beratung von Kunden"
    assert wording.task_line("Kunden beraten", "plain") == "Kunden beraten"


def test_our_title_follows_the_official_code_unless_it_names_a_level():
    listed = [JobTitle(Forms("Koch"), "29301", "cooking", "none", "ba")]
    (ours,) = merge_titles([COOK], listed)
    assert (ours.code, ours.level) == ("29301", "none")
    chosen = JobTitle(Forms("Koch"), "29302", "cooking", "vocational", "chosen", "", "CH")
    swiss, german = merge_titles([chosen], listed)
    assert (swiss.level, swiss.country) == ("vocational", "CH")
    assert (german.level, german.country) == ("none", "DE")
