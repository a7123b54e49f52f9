"""A first look at a file of ads: whether it is sound, what is in it, and where it may be cut.

CSV is cut where the standard library's reader ends a record, which is told by the same rules as
pandas reads by; that both found as many rows is checked.
"""

import csv
import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from app.bulk.predict import check_fields
from app.core.errors import DataError, first_line
from app.data.files import CSV, LINES, PARQUET, Row, chunks, is_one_of, rows_of
from app.data.labelled_ads import Columns

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Inspected:
    """A file that was read through once: what is in it, and where it may be cut."""

    path: str
    size: int
    modified: int
    sha256: str
    rows: int
    cuts: Sequence[int]
    """The bytes that the splits begin at, and that the last ends at; none in Parquet."""
    schema: bytes
    text: str
    title: str | None


def inspect(system: fs.FileSystem, path: str, columns: Columns, rows: int) -> Inspected:
    """Read a file through, so that what is malformed is told before any work.

    Args:
        system: where the file is.
        path: of the file.
        columns: the names of its columns.
        rows: of a split.

    Raises:
        DataError: the file is malformed, or cannot be cut.
    """
    name = PurePosixPath(path)
    try:
        info = system.get_file_info(path)
        with system.open_input_file(path) as file:
            sha256, cuts = _cuts(BufferedReader(file, _BLOCK), name, rows)
        with system.open_input_file(path) as file:
            count, schema = (_footer if is_one_of(name, PARQUET) else _read)(file, name)
    except OSError as error:
        raise DataError.at(path, f"cannot be read: {first_line(error)}.") from error
    check_fields(name, schema.names)
    text, title = "", None
    if count:
        text, title = columns.of_text(name, dict.fromkeys(schema.names))
    if cuts and cuts.pop() != count:
        raise DataError.at(path, "its rows do not end where its lines do; write it as Parquet.")
    return Inspected(
        path, info.size, info.mtime_ns or 0, sha256, count, cuts,
        schema.serialize().to_pybytes(), text, title,
    )  # fmt: skip


def fingerprint(files: Iterable[Inspected]) -> str:
    """Return a digest of the names and the bytes of files."""
    known = [(file.path, file.sha256) for file in files]
    return hashlib.sha256(repr(known).encode()).hexdigest()


def inspected(
    system: fs.FileSystem, columns: Columns, rows: int, row: dict[str, Any]
) -> dict[str, Any]:
    """Inspect the file at `path` of a row; what is found, or why it is refused, is one again."""
    try:
        return {"found": asdict(inspect(system, row["path"], columns, rows)), "refused": ""}
    except DataError as error:
        return {"found": None, "refused": str(error)}


def joint_schema(schemas: Iterable[pa.Schema], path: object) -> pa.Schema:
    """Return all columns in the order they first appear in; those without a value hold text.

    Raises:
        DataError: a column has values of different types.
    """
    try:
        joint = pa.unify_schemas([*schemas], promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError.at(
            path, f"a column changes its type, and Parquet knows one: {first_line(error)}."
        ) from error
    return joint.remove_metadata()


def without_nulls(schema: pa.Schema) -> pa.Schema:
    """Return the columns with text for those that never had a value."""
    return pa.schema(
        [
            field.with_type(pa.string()) if pa.types.is_null(field.type) else field
            for field in schema
        ]
    )


def _cuts(file: BufferedReader, name: PurePosixPath, rows: int) -> tuple[str, list[int]]:
    """Return the SHA-256, and for text formats the cuts with the number of rows behind them."""
    digest = hashlib.sha256()

    def hashed(parts: Iterable[bytes]) -> Iterator[bytes]:
        for part in parts:
            digest.update(part)
            yield part

    if is_one_of(name, PARQUET):
        for _ in hashed(iter(lambda: file.read(_BLOCK), b"")):
            pass
        return digest.hexdigest(), []
    is_csv = is_one_of(name, CSV)
    ends = (_ends_of_records if is_csv else _ends_of_lines)(hashed(file), name)
    last = next(ends, 0) if is_csv else 0
    cuts, count = [last], 0
    for count, end in enumerate(ends, start=1):
        last = end
        if count % rows == 0:
            cuts.append(end)
    if count % rows:
        cuts.append(last)
    return digest.hexdigest(), [*cuts, count]


def _ends_of_lines(lines: Iterable[bytes], _name: PurePosixPath) -> Iterator[int]:
    end = 0
    for line in lines:
        end += len(line)
        if line.strip():
            yield end


def _ends_of_records(lines: Iterable[bytes], name: PurePosixPath) -> Iterator[int]:
    """Yield the bytes that the header of CSV and each record end at; blank lines are none."""
    line, end = b"", 0

    def decoded() -> Iterator[str]:
        nonlocal line, end
        for line in lines:
            end += len(line)
            yield line.decode("latin-1")

    csv.field_size_limit(sys.maxsize)
    try:
        for _ in csv.reader(decoded()):
            if line.strip(b" \t\r\n"):
                yield end
    except csv.Error as error:
        raise DataError.at(name, f"cannot be cut: {first_line(error)}; write Parquet.") from error


def _footer(file: Any, name: PurePosixPath) -> tuple[int, pa.Schema]:
    try:
        with pq.ParquetFile(file) as table:
            return table.metadata.num_rows, table.schema_arrow.remove_metadata()
    except pa.ArrowException as error:
        raise DataError.at(name, f"is damaged or no Parquet file: {first_line(error)}.") from error


def _read(file: BinaryIO, name: PurePosixPath) -> tuple[int, pa.Schema]:
    """Return the number of rows and the columns of a text format."""
    count, schema = 0, pa.schema([])
    for rows in chunks(row for _, row in rows_of(file, name)):
        count += len(rows)
        columns = list(dict.fromkeys(column for row in rows for column in row))
        if is_one_of(name, LINES):
            found = _inferred(rows, columns, name)
        else:
            found = pa.schema([(column, pa.string()) for column in columns])
        schema = joint_schema([schema, found], name)
    return count, schema


def _inferred(rows: list[Row], columns: list[str], name: PurePosixPath) -> pa.Schema:
    try:
        return pa.schema(
            [(column, pa.array([row.get(column) for row in rows]).type) for column in columns]
        )
    except pa.ArrowException as error:
        raise DataError.at(
            name, f"a column changes its type, and Parquet knows one: {first_line(error)}."
        ) from error
