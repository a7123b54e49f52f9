import pytest

from app.core.errors import DataError
from app.core.head_labels import Head
from app.core.types import Ad
from app.data.labelled_ads import Columns, check_enough, read_labelled, sha256
from tests.conftest import HEADS
from tests.support.ad_files import LABELLED_ADS, write_ads


def test_a_file_without_text_has_its_titles_for_texts(tmp_path):
    row = {"title": " Koch ", "job_category": "cooking", "min_education": ""}
    table = read_labelled(write_ads(tmp_path / "a.csv", [row]), Columns())
    assert table.ads == [Ad("Koch")]
    assert table.labels == [("cooking", "")]


def test_a_title_goes_with_its_text_and_may_be_missing(tmp_path):
    rows = [{"title": "Koch", **LABELLED_ADS[0]}, {"title": None, **LABELLED_ADS[1]}]
    table = read_labelled(write_ads(tmp_path / "a.parquet", rows), Columns())
    assert [ad.title for ad in table.ads] == ["Koch", None]
    assert [ad.text for ad in table.ads] == [row["text"] for row in LABELLED_ADS[:2]]


def test_columns_can_be_named(tmp_path):
    row = {"body": "Koch", "kopf": "Küche", "job": 7, "edu": False, "firm": "A"}
    table = read_labelled(
        write_ads(tmp_path / "a.jsonl", [row]), Columns("body", "kopf", "job", "edu", "firm")
    )
    assert (table.ads, table.labels) == ([Ad("Koch", "Küche")], [("7", "False")])
    assert table.groups == ["A"]


def test_rows_without_any_label_are_skipped_and_counted(tmp_path):
    blank = {"text": "Koch", "job_category": " ", "min_education": ""}
    table = read_labelled(write_ads(tmp_path / "a.csv", [blank, LABELLED_ADS[0], blank]), Columns())
    assert (table.rows, table.unlabelled) == ([2], 2)
    with pytest.raises(DataError, match="none of its 1 rows has a label"):
        read_labelled(write_ads(tmp_path / "b.csv", [blank]), Columns())


def test_labels_of_the_data_are_sorted_and_gaps_are_ignored(tmp_path):
    rows = [*LABELLED_ADS, {"text": "Koch", "job_category": "cooking", "min_education": ""}]
    table = read_labelled(write_ads(tmp_path / "a.csv", rows), Columns())
    heads = table.heads()
    assert heads["job_category"] == Head(labels=("cooking", "nursing", "software"))
    assert heads["min_education"] == Head(labels=("master", "none", "vocational"))
    assert table.targets(heads, "x")["min_education"][-2:].tolist() == [0, -100]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (Columns(text="body"), r"column 'body'.*found are text, job_.*--text-column"),
        (Columns(title="kopf"), r"column 'kopf'.*--title-column"),
        (Columns(job_category="job"), r"column 'job'.*--job-category-column"),
        (Columns(min_education="edu"), r"column 'edu'.*--min-education-column"),
        (Columns(group="firm"), r"column 'firm'.*--group-column"),
    ],
)
def test_a_missing_column_lists_those_there_and_names_the_option(tmp_path, columns, message):
    with pytest.raises(DataError, match=message):
        read_labelled(write_ads(tmp_path / "a.csv", LABELLED_ADS), columns)


def test_an_empty_text_is_told_with_file_row_and_column(tmp_path):
    file = write_ads(tmp_path / "a.csv", [*LABELLED_ADS[:2], {**LABELLED_ADS[2], "text": "  "}])
    with pytest.raises(DataError) as error:
        read_labelled(file, Columns())
    assert str(error.value) == f"{file}, row 3, column 'text': the text is empty."


def test_an_unknown_label_is_told_with_the_nearest(tmp_path):
    table = read_labelled(
        write_ads(tmp_path / "a.csv", [{**LABELLED_ADS[0], "job_category": "Nursin"}]), Columns()
    )
    with pytest.raises(
        DataError,
        match=r"row 1, column 'job_category': 'Nursin' is none of the 3 labels of l\.json; "
        r"did you mean 'nursing'\?",
    ):
        table.targets(HEADS, "l.json")


def test_an_overlong_label_is_refused(tmp_path):
    file = write_ads(tmp_path / "a.csv", [{**LABELLED_ADS[0], "job_category": "x" * 201}])
    with pytest.raises(DataError, match="row 1, column 'job_category': a label has at most 200"):
        read_labelled(file, Columns())


def test_a_file_without_rows_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("text,job_category,min_education\n")
    with pytest.raises(DataError, match="has no rows"):
        read_labelled(tmp_path / "a.csv", Columns())


@pytest.mark.parametrize(("label", "found"), [("cooking", "only 'cooking'"), ("", "none")])
def test_a_head_with_one_class_is_refused(tmp_path, label, found):
    rows = [{**row, "job_category": label} for row in LABELLED_ADS]
    table = read_labelled(write_ads(tmp_path / "a.csv", rows), Columns())
    with pytest.raises(DataError, match=f"column 'job_category'.*two classes.*{found}"):
        table.heads()
    with pytest.raises(DataError, match=f"column 'job_category'.*two classes.*{found}"):
        check_enough(table, table.targets(HEADS, "x"), HEADS)


def test_fewer_rows_than_classes_are_refused(tmp_path):
    table = read_labelled(
        write_ads(tmp_path / "a.csv", [LABELLED_ADS[0], LABELLED_ADS[4]]), Columns()
    )
    with pytest.raises(DataError, match="2 labelled rows to train on are fewer than 3 classes"):
        check_enough(table, table.targets(HEADS, "x"), HEADS)


def test_the_hash_is_the_usual_one(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a").startswith("ba7816bf8f01cfea")
