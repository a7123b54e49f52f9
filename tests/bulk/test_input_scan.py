import pyarrow as pa
import pytest
from pyarrow import fs

from app.bulk.input_scan import fingerprint, joint_schema, scan_file, scan_row
from app.bulk.input_splits import make_splits, read_split
from app.core.errors import DataError
from app.data.labelled_ads import ColumnNames
from tests.support.ad_files import write_ads

LOCAL = fs.LocalFileSystem()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text\rKoch\r", "its rows do not end where its lines do|cannot be cut"),
        ("a.jsonl", b'{"text": "a"}\r{"text": "b"}\n', "its rows do not end where its lines do"),
        ("a.jsonl", b'{"text": 1}\n{"text": "a"}\n', "a column changes its type"),
        ("a.jsonl", b'{"text": "a"}\n{oops\n', "row 2: is not a line of JSON"),
        ("a.csv", b'text\n"Koch\n', "is not well-formed CSV"),
        ("a.csv", b"nr\n1\n", "there is no such column"),
        ("a.csv", b"text,prediction_error\na,b\n", "the prediction would overwrite"),
        ("a.csv", b"text\n\xff\n", "is not text in UTF-8"),
        ("a.parquet", b"PAR1", "is damaged or no Parquet file"),
    ],
)
def test_a_malformed_or_uncuttable_file_is_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        scan_file(LOCAL, str(path), ColumnNames(), 512)


def test_files_have_a_joint_schema(tmp_path):
    one, other = (
        pa.schema([("text", pa.string()), ("n", pa.int64())]),
        pa.schema([("text", pa.string()), ("n", pa.null()), ("late", pa.bool_())]),
    )
    assert joint_schema([one, other], "a").names == ["text", "n", "late"]
    path = write_ads(tmp_path / "a.csv", [{"text": "Koch"}])
    (split,) = make_splits([scan_file(LOCAL, str(path), ColumnNames(), 512)], 512)
    _, table = read_split(LOCAL, split, joint_schema([one, other], "a"))
    assert table.to_pylist() == [{"text": "Koch", "n": None, "late": None}]


def test_a_fingerprint_depends_on_paths_and_contents(tmp_path):
    def scan(name, text):
        path = write_ads(tmp_path / name, [{"text": text}])
        return fingerprint([scan_file(LOCAL, str(path), ColumnNames(), 512)])

    assert scan("a.csv", "Koch") == scan("a.csv", "Koch")
    assert len({scan("a.csv", "Koch"), scan("a.csv", "Arzt"), scan("b.csv", "Koch")}) == 3


def test_a_refused_file_is_a_row_with_the_reason(tmp_path):
    """An exception would reach the driver as a traceback of Ray."""
    row = scan_row(LOCAL, ColumnNames(), 512, {"path": str(tmp_path / "none.csv")})
    assert row["found"] is None
    assert "none.csv: cannot be read" in row["refused"]
