import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from app.bulk.input_scan import scan_file, without_nulls
from app.bulk.input_splits import make_splits, read_split
from app.core.errors import DataError
from app.data.files import read_rows
from app.data.labelled_ads import ColumnNames
from tests.support.ad_files import write_ads

LOCAL = fs.LocalFileSystem()
ROWS = 512
TEXTS = ["Koch", 'ein "Profi", gern\nim Team', "", "Menüs\r\nund mehr", '5" Rohr', "x" * 200_000]


def split(path, rows=ROWS):
    """Return the splits of a file and its schema."""
    found = scan_file(LOCAL, str(path), ColumnNames(), rows)
    schema = pa.ipc.read_schema(pa.py_buffer(found.schema))
    return [*make_splits([found], rows)], without_nulls(schema)


def read(path, rows=ROWS):
    """Return the rows of each split, and the columns of all."""
    splits, schema = split(path, rows=rows)
    parts = [read_split(LOCAL, one, schema) for one in splits]
    return [part for part, _ in parts], pa.concat_tables([table for _, table in parts])


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
@pytest.mark.parametrize("count", [1, 511, 512, 513, 1536, 1600])
def test_splits_have_the_rows_and_columns_of_the_file(tmp_path, name, count):
    path = write_ads(
        tmp_path / name, [{"id": n, "text": TEXTS[n % 5], "title": None} for n in range(count)]
    )
    parts, table = read(path)
    whole = [row for _, row in read_rows(path)]
    assert [len(part) for part in parts] == [min(ROWS, count - n) for n in range(0, count, ROWS)]
    read_columns = [{"text": row["text"], "title": row["title"]} for row in whole]
    assert [
        {"text": row["text"], "title": row["title"]} for part in parts for row in part
    ] == read_columns
    assert table.to_pylist() == whole


@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf"], ids=["", "mark"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_csv_is_cut_between_records(tmp_path, begin, end):
    fields = [b"Koch", b'"a ""b"", c\nd"', b'5" Rohr', b'""', b'"\n\n"', b'"x"y', b"x" * 200_000]
    lines = [b'id,"te\nxt"'.replace(b"\n", b"")]
    for number in range(30):
        lines += [b"%d,%s" % (number, fields[number % 7]), *([b"", b"  "] * (number % 3))]
    path = tmp_path / "a.csv"
    path.write_bytes(begin + end.join(lines))
    parts, _ = read(path, rows=4)
    assert [len(part) for part in parts] == [4] * 7 + [2]
    assert [row for part in parts for row in part] == [row for _, row in read_rows(path)]


def test_json_lines_may_be_blank_and_add_columns_late(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"text": "a", "n": null}\r\n\n{"text": "b", "n": 1}\n'
        b'{"text": "c", "n": 2.5}\n   \n{"text": "d", "late": {"x": [1]}}'
    )
    parts, table = read(path, rows=1)
    assert [part[0]["text"] for part in parts] == [*"abcd"]
    assert table["n"].to_pylist() == [None, 1, 2.5, None]
    assert table["late"].to_pylist() == [None, None, None, {"x": [1]}]


def test_integers_become_floats_if_later_rows_have_floats(tmp_path):
    path = write_ads(
        tmp_path / "a.jsonl", [{"text": "a", "n": 1}] * 512 + [{"text": "b", "n": 2.5}]
    )
    _, table = read(path)
    assert table["n"].to_pylist() == [1.0] * 512 + [2.5]


def test_parquet_keeps_its_types_across_row_groups(tmp_path):
    table = pa.table(
        {
            "text": pa.array([f"Koch {n}" for n in range(1000)]).dictionary_encode(),
            "when": pa.array([datetime.datetime(2026, 1, 1)] * 1000, pa.timestamp("ns")),
            "small": pa.array([*range(100)] * 10, pa.int8()),
            "list": [[n, n + 1] for n in range(1000)],
        }
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=300)
    parts, found = read(path)
    assert [[row["text"] for row in part] for part in parts] == [
        [f"Koch {n}" for n in some] for some in (range(512), range(512, 1000))
    ]
    assert found.schema.types == pq.read_schema(path).types
    assert found.to_pydict() == table.to_pydict()


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_file_that_changed_since_its_scan_is_refused(tmp_path, name):
    path = write_ads(tmp_path / name, [{"text": "Koch"}] * 600)
    splits, schema = split(path)
    write_ads(path, [{"text": "Arzt"}] * 600)
    with pytest.raises(DataError, match="changed while it was read"):
        read_split(LOCAL, splits[1], schema)
