import numpy as np
import pytest

from app.core.types import Ad
from app.data.labelled_ads import ColumnNames, read_labelled
from app.model.base_encoder import open_base_encoder
from app.training.demo import baselines
from app.training.demo.baselines import required_level
from app.training.demo.job_titles import TitleForms
from app.training.demo.occupations import JobTitle
from tests.conftest import HEADS
from tests.support.ad_files import LABELLED_ADS, write_ads


@pytest.fixture
def table(tmp_path):
    rows = LABELLED_ADS * 3 + [{**LABELLED_ADS[0], "min_education": ""}]
    return read_labelled(write_ads(tmp_path / "train.csv", rows), ColumnNames())


def test_the_majority_baseline_predicts_the_shares_of_labels(table):
    found = baselines.majority(table, HEADS, [Ad("a"), Ad("b")])
    jobs = [job for job, _ in table.labels]
    expected = [jobs.count(label) / len(jobs) for label in HEADS["job_category"].labels]
    assert found.scores["job_category"][0] == pytest.approx(expected)
    assert found.scores["min_education"].shape == (2, 3)
    # The row without a label does not count.
    assert found.scores["min_education"].sum(axis=1) == pytest.approx([1, 1])


def test_tfidf_learns_labels_from_words(table):
    ads = [Ad(row["text"]) for row in LABELLED_ADS]
    found = baselines.tfidf(table, HEADS, ads)
    for name, head in HEADS.items():
        assert found.scores[name].sum(axis=1) == pytest.approx(1, abs=1e-5)
        best = [head.labels[number] for number in found.scores[name].argmax(axis=1)]
        assert best == [row[name] for row in LABELLED_ADS]
    assert f"all {len(table)} training rows" in found.note


def test_a_label_without_rows_gets_no_probability(table):
    heads = HEADS | {"job_category": HEADS["job_category"].model_copy(
        update={"labels": (*HEADS["job_category"].labels, "unseen"), "names": {}}
    )}  # fmt: skip
    found = baselines.tfidf(table, heads, [Ad("Koch")])
    assert found.scores["job_category"][0, -1] == 0


def test_an_ad_gets_the_labels_of_the_nearest_title(tiny_base):
    titles = [
        JobTitle(TitleForms("Koch im Restaurant"), "29302", "cooking", "none", "own"),
        JobTitle(TitleForms("Entwickler für Software"), "43414", "software", "master", "own"),
        JobTitle(TitleForms("Pflegefachkraft"), "81302", "nursing", "none", "own"),
    ]
    ads = [Ad("Text", "Entwickler für Software"), Ad("Koch im Restaurant")]
    found = baselines.nearest_title(open_base_encoder(str(tiny_base)), titles, HEADS, ads)
    jobs, levels = (HEADS[name].labels for name in HEADS)
    best = {name: values.argmax(axis=1) for name, values in found.scores.items()}
    assert [jobs[number] for number in best["job_category"]] == ["software", "cooking"]
    assert [levels[number] for number in best["min_education"]] == ["master", "none"]
    assert found.scores["job_category"].max(axis=1) == pytest.approx(1, abs=1e-5)
    # No title has the level vocational, so it is ruled out.
    assert (found.scores["min_education"][:, levels.index("vocational")] == 0).all()
    assert not found.probabilistic


def test_padding_does_not_change_a_vector(tiny_base):
    base = open_base_encoder(str(tiny_base))
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
def test_keywords_give_the_lowest_required_level(level, text):
    assert required_level(Ad(text)) == level


def test_the_title_of_a_student_job_means_no_requirement():
    assert required_level(Ad("Bachelor gern gesehen", "Werkstudent Einkauf")) == "none"


def test_ads_without_a_keyword_get_the_most_frequent_level(table):
    found = baselines.keywords(table, HEADS, [Ad("Nichts"), Ad("Ein Master wird verlangt")])
    levels = HEADS["min_education"].labels
    rows = [level for _, level in table.labels if level]
    usual = max(levels, key=rows.count)
    best = [levels[number] for number in found.scores["min_education"].argmax(axis=1)]
    assert best == [usual, "master"]
    assert list(found.scores) == ["min_education"]
    assert "1 of 2 ads" in found.note
