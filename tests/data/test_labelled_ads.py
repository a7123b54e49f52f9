import pytest

from app.core.errors import DataError
from app.core.head_labels import Head
from app.core.types import Ad
from app.data.labelled_ads import (
    ColumnNames,
    check_enough,
    read_first_ads,
    read_labelled,
    sha256,
)
from tests.conftest import HEADS
from tests.support.ad_files import LABELLED_ADS, write_ads


def test_titles_are_the_texts_of_a_file_without_texts(tmp_path):
    row = {"title": " Koch ", "job_category": "cooking", "min_education": ""}
    table = read_labelled(write_ads(tmp_path / "a.csv", [row]), ColumnNames())
    assert table.ads == [Ad("Koch")]
    assert table.labels == [("cooking", "")]


def test_title_is_optional(tmp_path):
    rows = [{"title": "Koch", **LABELLED_ADS[0]}, {"title": None, **LABELLED_ADS[1]}]
    table = read_labelled(write_ads(tmp_path / "a.parquet", rows), ColumnNames())
    assert [ad.title for ad in table.ads] == ["Koch", None]
    assert [ad.text for ad in table.ads] == [row["text"] for row in LABELLED_ADS[:2]]


def test_columns_can_have_other_names(tmp_path):
    row = {"body": "Koch", "kopf": "Küche", "job": 7, "edu": False, "firm": "A"}
    table = read_labelled(
        write_ads(tmp_path / "a.jsonl", [row]), ColumnNames("body", "kopf", "job", "edu", "firm")
    )
    assert (table.ads, table.labels) == ([Ad("Koch", "Küche")], [("7", "False")])
    assert table.groups == ["A"]


def test_rows_without_a_label_are_skipped_and_counted(tmp_path):
    blank = {"text": "Koch", "job_category": " ", "min_education": ""}
    table = read_labelled(
        write_ads(tmp_path / "a.csv", [blank, LABELLED_ADS[0], blank]), ColumnNames()
    )
    assert (table.rows, table.unlabelled) == ([2], 2)
    with pytest.raises(DataError, match="none of its 1 rows has a label"):
        read_labelled(write_ads(tmp_path / "b.csv", [blank]), ColumnNames())


def test_labels_are_sorted_and_missing_ones_ignored(tmp_path):
    rows = [*LABELLED_ADS, {"text": "Koch", "job_category": "cooking", "min_education": ""}]
    table = read_labelled(write_ads(tmp_path / "a.csv", rows), ColumnNames())
    heads = table.heads()
    assert heads["job_category"] == Head(labels=("cooking", "nursing", "software"))
    assert heads["min_education"] == Head(labels=("master", "none", "vocational"))
    assert table.targets(heads, "x")["min_education"][-2:].tolist() == [0, -100]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (ColumnNames(text="body"), r"column 'body'.*found are text, job_.*--text-column"),
        (ColumnNames(title="kopf"), r"column 'kopf'.*--title-column"),
        (ColumnNames(job_category="job"), r"column 'job'.*--job-category-column"),
        (ColumnNames(min_education="edu"), r"column 'edu'.*--min-education-column"),
        (ColumnNames(group="firm"), r"column 'firm'.*--group-column"),
    ],
)
def test_missing_column_error_lists_columns_and_names_the_option(tmp_path, columns, message):
    with pytest.raises(DataError, match=message):
        read_labelled(write_ads(tmp_path / "a.csv", LABELLED_ADS), columns)


def test_empty_text_is_rejected_with_file_row_and_column(tmp_path):
    file = write_ads(tmp_path / "a.csv", [*LABELLED_ADS[:2], {**LABELLED_ADS[2], "text": "  "}])
    with pytest.raises(DataError) as error:
        read_labelled(file, ColumnNames())
    assert str(error.value) == f"{file}, row 3, column 'text': the text is empty."


def test_unknown_label_is_rejected_with_the_nearest(tmp_path):
    table = read_labelled(
        write_ads(tmp_path / "a.csv", [{**LABELLED_ADS[0], "job_category": "Nursin"}]),
        ColumnNames(),
    )
    with pytest.raises(
        DataError,
        match=r"row 1, column 'job_category': 'Nursin' is none of the 3 labels of l\.json; "
        r"did you mean 'nursing'\?",
    ):
        table.targets(HEADS, "l.json")


def test_overlong_label_is_rejected(tmp_path):
    file = write_ads(tmp_path / "a.csv", [{**LABELLED_ADS[0], "job_category": "x" * 201}])
    with pytest.raises(DataError, match="row 1, column 'job_category': a label has at most 200"):
        read_labelled(file, ColumnNames())


def test_file_without_rows_is_rejected(tmp_path):
    (tmp_path / "a.csv").write_text("text,job_category,min_education\n")
    with pytest.raises(DataError, match="has no rows"):
        read_labelled(tmp_path / "a.csv", ColumnNames())


@pytest.mark.parametrize(("label", "found"), [("cooking", "only 'cooking'"), ("", "none")])
def test_head_with_one_class_is_rejected(tmp_path, label, found):
    rows = [{**row, "job_category": label} for row in LABELLED_ADS]
    table = read_labelled(write_ads(tmp_path / "a.csv", rows), ColumnNames())
    with pytest.raises(DataError, match=f"column 'job_category'.*two classes.*{found}"):
        table.heads()
    with pytest.raises(DataError, match=f"column 'job_category'.*two classes.*{found}"):
        check_enough(table, table.targets(HEADS, "x"), HEADS)


def test_fewer_rows_than_classes_are_rejected(tmp_path):
    table = read_labelled(
        write_ads(tmp_path / "a.csv", [LABELLED_ADS[0], LABELLED_ADS[4]]), ColumnNames()
    )
    with pytest.raises(DataError, match="2 labelled rows to train on are fewer than 3 classes"):
        check_enough(table, table.targets(HEADS, "x"), HEADS)


def test_sha256_is_the_standard_hash(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a").startswith("ba7816bf8f01cfea")


@pytest.mark.parametrize("name", ["ads.jsonl", "ads.csv", "ads.parquet"])
def test_first_ads_have_text_and_title(tmp_path, name):
    rows = [{"text": "Koch", "title": "Küche"}, {"text": "Pflege", "title": ""}]
    assert read_first_ads(write_ads(tmp_path / name, rows)) == [Ad("Koch", "Küche"), Ad("Pflege")]


def test_first_ads_stop_before_the_rest_of_a_file(tmp_path):
    file = tmp_path / "ads.jsonl"
    file.write_text('{"text": "Koch"}\n' * 5005 + "broken")
    assert len(read_first_ads(file)) == 5000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no rows"),
        ('{"text": "a"}\n{"body": "b"}', "row 2, column 'text': the text is empty"),
        ('{"text": "a"}\n{"text": " "}', "row 2, column 'text': the text is empty"),
    ],
)
def test_first_ads_refuse_rows_without_text(tmp_path, content, message):
    file = tmp_path / "ads.jsonl"
    file.write_text(content)
    with pytest.raises(DataError, match=message):
        read_first_ads(file)
