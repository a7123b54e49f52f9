"""Reads a file of ads once before a run: checks it, and finds its columns and where to cut it.

CSV is cut where the reader of the standard library ends a record. Rows are read with pandas, which
has the same rules; a file in which the two find different numbers of rows is refused.
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

from app.bulk.prediction_columns import check_column_names
from app.core.errors import DataError, first_line
from app.data.files import CSV, JSON_LINES, PARQUET, Row, chunks, has_suffix, rows_of
from app.data.labelled_ads import ColumnNames

_BLOCK = 1 << 20
"""Bytes that are read at a time."""


@dataclass(frozen=True)
class ScannedFile:
    """A well-formed file of ads."""

    path: str
    size: int
    modified_ns: int
    sha256: str
    rows: int
    cuts: Sequence[int]
    """The byte at which each split begins, and the one at which the last ends; none for Parquet."""
    schema: bytes
    """The schema of the columns, in the format of Arrow IPC."""
    text: str
    """The column of texts; empty if the file has no rows."""
    title: str | None


def scan_file(system: fs.FileSystem, path: str, columns: ColumnNames, rows: int) -> ScannedFile:
    """Read a file to its end.

    Args:
        system: the file system.
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
            read_columns = _parquet_columns if has_suffix(name, PARQUET) else _text_columns
            count, schema = read_columns(file, name)
    except OSError as error:
        raise DataError.at(path, f"cannot be read: {first_line(error)}.") from error
    check_column_names(name, schema.names)
    text, title = "", None
    if count:
        text, title = columns.of_text(name, dict.fromkeys(schema.names))
    if cuts and cuts.pop() != count:
        raise DataError.at(path, "its rows do not end where its lines do; write it as Parquet.")
    return ScannedFile(
        path, info.size, info.mtime_ns or 0, sha256, count, cuts,
        schema.serialize().to_pybytes(), text, title,
    )  # fmt: skip


def fingerprint(files: Iterable[ScannedFile]) -> str:
    """Return a digest of the paths and contents of files."""
    contents = [(file.path, file.sha256) for file in files]
    return hashlib.sha256(repr(contents).encode()).hexdigest()


def scan_row(
    system: fs.FileSystem, columns: ColumnNames, rows: int, row: dict[str, Any]
) -> dict[str, Any]:
    """Scan the file at a row's `path`, as a function over rows of Ray Data.

    Returns:
        The fields of its `ScannedFile` as `found`, or a message as `refused`.
    """
    try:
        return {"found": asdict(scan_file(system, row["path"], columns, rows)), "refused": ""}
    except DataError as error:
        return {"found": None, "refused": str(error)}


def joint_schema(schemas: Iterable[pa.Schema], path: object) -> pa.Schema:
    """Return all columns of some schemas in the order in which they first appear.

    Raises:
        DataError: the types of a column cannot be joined.
    """
    try:
        joint = pa.unify_schemas([*schemas], promote_options="permissive")
    except pa.ArrowException as error:
        raise _type_error(path, error) from error
    return joint.remove_metadata()


def without_nulls(schema: pa.Schema) -> pa.Schema:
    """Return a schema in which columns without any value hold text."""
    return pa.schema(
        [
            field.with_type(pa.string()) if pa.types.is_null(field.type) else field
            for field in schema
        ]
    )


def _cuts(file: BufferedReader, name: PurePosixPath, rows: int) -> tuple[str, list[int]]:
    """Return the SHA-256, and for text formats the cuts, followed by the number of rows."""
    digest = hashlib.sha256()

    def hashed(parts: Iterable[bytes]) -> Iterator[bytes]:
        for part in parts:
            digest.update(part)
            yield part

    if has_suffix(name, PARQUET):
        for _ in hashed(iter(lambda: file.read(_BLOCK), b"")):
            pass
        return digest.hexdigest(), []
    is_csv = has_suffix(name, CSV)
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
    """Yield the byte at which each line that is not blank ends."""
    end = 0
    for line in lines:
        end += len(line)
        if line.strip():
            yield end


def _ends_of_records(lines: Iterable[bytes], name: PurePosixPath) -> Iterator[int]:
    """Yield the byte at which the header of CSV and each of its records end."""
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


def _parquet_columns(file: Any, name: PurePosixPath) -> tuple[int, pa.Schema]:
    try:
        with pq.ParquetFile(file) as table:
            return table.metadata.num_rows, table.schema_arrow.remove_metadata()
    except pa.ArrowException as error:
        raise DataError.at(name, f"is damaged or no Parquet file: {first_line(error)}.") from error


def _text_columns(file: BinaryIO, name: PurePosixPath) -> tuple[int, pa.Schema]:
    """Return the number of rows and the schema of CSV or JSON lines."""
    count, schema = 0, pa.schema([])
    for rows in chunks(row for _, row in rows_of(file, name)):
        count += len(rows)
        columns = list(dict.fromkeys(column for row in rows for column in row))
        if has_suffix(name, JSON_LINES):
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
        raise _type_error(name, error) from error


def _type_error(path: object, error: pa.ArrowException) -> DataError:
    return DataError.at(
        path, f"a column changes its type, and Parquet knows one: {first_line(error)}."
    )
