import pytest

from app.core.errors import DataError
from app.data.files import RowWriter, as_text, read_rows
from tests.support.ad_files import write_ads

ROWS = [{"text": "Koch, gesucht\nsofort", "n": 1, "x": None}, {"text": "NA", "n": 2, "x": "Öl"}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json", "a.parquet"])
def test_typed_formats_keep_values(tmp_path, name):
    assert list(read_rows(write_ads(tmp_path / name, ROWS))) == [(1, ROWS[0]), (2, ROWS[1])]


def test_csv_cells_are_text_and_only_empty_ones_missing(tmp_path):
    file = tmp_path / "a.CSV"
    file.write_text("\ufefftext,label\nNA,001\nNone,\n1.0,true\n", encoding="utf-8")
    assert [row for _, row in read_rows(file)] == [
        {"text": "NA", "label": "001"},
        {"text": "None", "label": ""},
        {"text": "1.0", "label": "true"},
    ]


def test_short_csv_row_is_filled_with_empty_cells(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("text,label\nKoch\n", encoding="utf-8")
    assert list(read_rows(file)) == [(1, {"text": "Koch", "label": ""})]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"x", "suffix has to be one of .csv"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"text\nM\xfcller\n", "not text in UTF-8"),
        ("a.csv", b'text,n\n"open,1\n', "not well-formed CSV"),
        ("a.csv", b"text,n\nKoch,1\nKoch,1,2\n", "not well-formed CSV: Expected 2 fields"),
        ("a.csv", b"text,n\nKoch,1,2\nKoch,1,2\n", "more fields than its header"),
        ("a.jsonl", b'{"text": "a"}\n\n{oops\n', "row 3: is not a line of JSON"),
        ("a.json", b'["a"]\n', "row 1: the line has to hold one JSON object"),
        ("a.parquet", b"PAR1 not really", "no Parquet file"),
    ],
)
def test_malformed_file_is_rejected_in_one_sentence(tmp_path, name, content, message):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        list(read_rows(file))
    assert "\n" not in str(error.value)


def test_missing_file_is_rejected(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        list(read_rows(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (float("nan"), ""), (" a ", "a"), (1, "1"), (True, "True")]
)
def test_cell_becomes_stripped_text(value, text):
    assert as_text(value) == text


@pytest.mark.parametrize("name", ["o.jsonl", "o.parquet"])
def test_written_rows_read_back(tmp_path, name):
    with RowWriter(tmp_path / name, list(ROWS[0])) as writer:
        writer.write(ROWS[:1])
        writer.write(ROWS[1:])
    assert [row for _, row in read_rows(tmp_path / name)] == ROWS
    assert [file.name for file in tmp_path.iterdir()] == [name]


def write_all(out, *chunks, failure=None):
    with RowWriter(out, list(chunks[0][0])) as writer:
        for chunk in chunks:
            writer.write(chunk)
        if failure:
            raise failure


@pytest.mark.parametrize("name", ["o.csv", "o.jsonl", "o.parquet"])
def test_failure_keeps_the_old_file_and_leaves_no_other(tmp_path, name):
    out = tmp_path / name
    out.write_text("before")
    with pytest.raises(KeyboardInterrupt):
        write_all(out, ROWS, failure=KeyboardInterrupt())
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert out.read_text() == "before"


def test_parquet_rejects_a_column_that_changes_its_type(tmp_path):
    with pytest.raises(DataError, match="write JSON lines"):
        write_all(tmp_path / "o.parquet", [{"n": 1}], [{"n": "one"}])
    assert not list(tmp_path.iterdir())
