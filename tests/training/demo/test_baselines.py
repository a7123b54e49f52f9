import numpy as np
import pytest

from app.core.types import Ad
from app.data.labelled_ads import Columns, read_labelled
from app.model.base_encoder import open_base
from app.training.demo import baselines
from app.training.demo.job_titles import Forms
from app.training.demo.keyword_baseline import required_level
from app.training.demo.occupations import JobTitle
from tests.conftest import HEADS
from tests.support.ad_files import LABELLED_ADS, write_ads


@pytest.fixture
def table(tmp_path):
    rows = LABELLED_ADS * 3 + [{**LABELLED_ADS[0], "min_education": ""}]
    return read_labelled(write_ads(tmp_path / "train.csv", rows), Columns())


def test_the_majority_answers_with_the_shares_of_the_rows(table):
    found = baselines.majority(table, HEADS, [Ad("a"), Ad("b")])
    jobs = [job for job, _ in table.labels]
    expected = [jobs.count(label) / len(jobs) for label in HEADS["job_category"].labels]
    assert found.answers["job_category"][0] == pytest.approx(expected)
    assert found.answers["min_education"].shape == (2, 3)
    # The row without a label does not count.
    assert found.answers["min_education"].sum(axis=1) == pytest.approx([1, 1])


def test_tfidf_learns_what_words_tell(table):
    ads = [Ad(row["text"]) for row in LABELLED_ADS]
    found = baselines.tfidf(table, HEADS, ads)
    for name, head in HEADS.items():
        assert found.answers[name].sum(axis=1) == pytest.approx(1, abs=1e-5)
        best = [head.labels[number] for number in found.answers[name].argmax(axis=1)]
        assert best == [row[name] for row in LABELLED_ADS]
    assert f"all {len(table)} training rows" in found.note


def test_a_label_without_rows_gets_no_probability(table):
    heads = HEADS | {"job_category": HEADS["job_category"].model_copy(
        update={"labels": (*HEADS["job_category"].labels, "unseen"), "names": {}}
    )}  # fmt: skip
    found = baselines.tfidf(table, heads, [Ad("Koch")])
    assert found.answers["job_category"][0, -1] == 0


def test_the_nearest_title_lends_its_labels(tiny_base):
    titles = [
        JobTitle(Forms("Koch im Restaurant"), "29302", "cooking", "none", "own"),
        JobTitle(Forms("Entwickler für Software"), "43414", "software", "master", "own"),
        JobTitle(Forms("Pflegefachkraft"), "81302", "nursing", "none", "own"),
    ]
    ads = [Ad("Text", "Entwickler für Software"), Ad("Koch im Restaurant")]
    found = baselines.nearest_title(open_base(str(tiny_base)), titles, HEADS, ads)
    jobs, levels = (HEADS[name].labels for name in HEADS)
    best = {name: values.argmax(axis=1) for name, values in found.answers.items()}
    assert [jobs[number] for number in best["job_category"]] == ["software", "cooking"]
    assert [levels[number] for number in best["min_education"]] == ["master", "none"]
    assert found.answers["job_category"].max(axis=1) == pytest.approx(1, abs=1e-5)
    # No title asks for training, so that level is ruled out.
    assert (found.answers["min_education"][:, levels.index("vocational")] == 0).all()
    assert not found.probabilistic


def test_padding_changes_no_vector(tiny_base):
    base = open_base(str(tiny_base))
    long = "Entwickler für Software mit Python und Datenbanken im Team"
    together = baselines.sentence_vectors(base, [long, "Koch"])
    alone = [baselines.sentence_vectors(base, [text])[0] for text in (long, "Koch")]
    assert together == pytest.approx(np.array(alone), abs=1e-5)


@pytest.mark.parametrize(
    ("level", "text"),
    [
        ("vocational", "Du hast eine abgeschlossene Berufsausbildung im Handwerk."),
        ("vocational", "Wir erwarten eine Lehre als Maler EFZ"),
        ("vocational", "Abgeschlossene Ausbildung oder Studium der Informatik"),
        ("vocational", "Kaufmännische Ausbildung. Ein Bachelor ist von Vorteil."),
        ("advanced", "Sie sind Meister oder Techniker"),
        ("advanced", "Abschluss auf Stufe HF/FH"),
        ("advanced", "Abgeschlossenes Studium; idealerweise ein Master"),
        ("master", "Approbation als Arzt"),
        ("master", "Zweites juristisches Staatsexamen\nWir bieten: Berufsausbildung im Haus"),
        ("none", "Quereinsteiger willkommen"),
        ("none", "Lehrstelle als Maler EFZ 2026"),
        (None, "Wir suchen Hilfe im Lager"),
        (None, "Ein Bachelor ist wünschenswert"),
    ],
)
def test_key_words_name_the_lowest_level_that_is_asked_for(level, text):
    assert required_level(Ad(text)) == level


def test_the_title_alone_says_that_somebody_is_still_to_be_trained():
    assert required_level(Ad("Bachelor gern gesehen", "Werkstudent Einkauf")) == "none"


def test_ads_without_a_key_word_get_the_usual_level(table):
    found = baselines.keywords(table, HEADS, [Ad("Nichts"), Ad("Ein Master wird verlangt")])
    levels = HEADS["min_education"].labels
    rows = [level for _, level in table.labels if level]
    usual = max(levels, key=rows.count)
    best = [levels[number] for number in found.answers["min_education"].argmax(axis=1)]
    assert best == [usual, "master"]
    assert list(found.answers) == ["min_education"]
    assert "1 of 2 ads" in found.note
