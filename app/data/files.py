"""Reads and writes tables row by row: CSV, JSON lines or Parquet, chosen by the file's suffix.

A row is a dict with all columns of the file, so that predictions can be written next to them. At
most one chunk of a file is in memory.
"""

import csv
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from io import TextIOWrapper
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, BinaryIO, TypeVar

from app.core.errors import DataError, first_line

Row = dict[str, Any]
Item = TypeVar("Item")

CSV, JSON_LINES, PARQUET = (".csv",), (".jsonl", ".ndjson", ".json"), (".parquet",)
CHUNK_ROWS = 512
"""Rows read, processed and written at a time."""


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield each row of a file with its 1-based number; in JSON lines, the number of the line.

    Raises:
        DataError: the file is missing, of another format, or malformed.
    """
    check_suffix(path)
    if not path.is_file():
        raise DataError.at(path, "there is no such file.")
    try:
        with path.open("rb") as file:
            yield from rows_of(file, path)
    except OSError as error:
        raise DataError.at(path, f"cannot be read: {error.strerror or error}.") from error


def rows_of(file: BinaryIO, path: PurePath) -> Iterator[tuple[int, Row]]:
    """Yield the rows of an open file as `read_rows` does.

    Args:
        file: opened for reading bytes.
        path: its suffix gives the format; named in errors.

    Raises:
        DataError: the file is malformed.
    """
    reader = (
        _csv_rows
        if has_suffix(path, CSV)
        else _json_rows
        if has_suffix(path, JSON_LINES)
        else _parquet_rows
    )
    try:
        yield from reader(file, path)
    except UnicodeDecodeError as error:
        raise DataError.at(path, "is not text in UTF-8.") from error


def check_suffix(path: PurePath) -> None:
    """Raise DataError unless the suffix is one of a supported format."""
    if not has_suffix(path, CSV + JSON_LINES + PARQUET):
        raise DataError.at(
            path, f"the suffix has to be one of {', '.join(CSV + JSON_LINES + PARQUET)}."
        )


def same_file(one: Path, other: Path) -> bool:
    """Return whether both paths exist and lead to the same file."""
    return one.exists() and other.exists() and one.samefile(other)


def column_list(row: Mapping[str, Any]) -> str:
    """Return the names of a row's columns for a message: "a, b, c", or "none"."""
    return ", ".join(map(str, row)) or "none"


def chunks(items: Iterable[Item], size: int = CHUNK_ROWS) -> Iterator[list[Item]]:
    """Yield the items in lists of `size`; the last may be shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def as_text(value: Any) -> str:
    """Return a cell as text without surrounding white space; a missing value as an empty text."""
    # NaN, the missing value of numeric columns, is the only one that differs from itself.
    if value is None or value != value:
        return ""
    return str(value).strip()


class RowWriter:
    """Context manager that writes rows to a file, which appears only when all are written.

    Rows go to a hidden file next to it, which replaces `path` at the end. After an exception the
    hidden file is removed, and an older file at `path` is unchanged.

    Args:
        path: its suffix gives the format.
        columns: names of all columns, in order.
        numbers: columns of type float64 even if the first rows have no value in them.

    Raises:
        DataError: the suffix is of no supported format.
    """

    def __init__(self, path: Path, columns: Sequence[str], numbers: Collection[str] = ()) -> None:
        check_suffix(path)
        self._path = path
        self._columns, self._numbers = list(columns), numbers
        self._partial = path.with_name(f".{path.name}.partial")
        self._sink: Any = None

    def __enter__(self) -> "RowWriter":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def write(self, rows: list[Row]) -> None:
        """Append rows; those of the first call determine the column types of a Parquet file.

        Raises:
            DataError: a Parquet column has another type than in the first call.
        """
        if self._sink is None:
            self._sink = self._open(rows)
        self._sink.write(rows)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._sink is not None:
            self._sink.close()
        if kind is None and self._sink is not None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)

    def _open(self, rows: list[Row]) -> Any:
        if has_suffix(self._path, CSV):
            return _CsvSink(self._partial, self._columns)
        if has_suffix(self._path, JSON_LINES):
            return _LinesSink(self._partial)
        return _ParquetSink(self._partial, self._path, self._columns, self._numbers, rows)


def has_suffix(path: PurePath, suffixes: tuple[str, ...]) -> bool:
    """Return whether a path has one of these suffixes, ignoring case."""
    return path.suffix.lower() in suffixes


def _csv_rows(file: BinaryIO, path: PurePath) -> Iterator[tuple[int, Row]]:
    import pandas as pd

    number = 0
    try:
        # Cells are text: "NA", "None" and "001" may be labels; only an empty cell is missing.
        reader = pd.read_csv(
            file, dtype=str, keep_default_na=False, na_filter=False, chunksize=CHUNK_ROWS,
            encoding="utf-8-sig",
        )  # fmt: skip
        with reader:
            for frame in reader:
                # If every row has more fields than the header, pandas uses the first as index.
                if not isinstance(frame.index, pd.RangeIndex):
                    raise DataError.at(path, "its rows have more fields than its header.")
                columns = list(frame.columns)
                for values in frame.fillna("").itertuples(index=False, name=None):
                    number += 1
                    yield number, dict(zip(columns, values, strict=True))
    except pd.errors.EmptyDataError as error:
        raise DataError.at(path, "is empty.") from error
    except pd.errors.ParserError as error:
        detail = " ".join(str(error).removeprefix("Error tokenizing data. C error:").split())
        raise DataError.at(path, f"is not well-formed CSV: {detail.rstrip('.')}.") from error


def _json_rows(file: BinaryIO, path: PurePath) -> Iterator[tuple[int, Row]]:
    with TextIOWrapper(file, encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError.at(path, "is not a line of JSON.", row=number) from error
            if not isinstance(row, dict):
                raise DataError.at(path, "the line has to hold one JSON object.", row=number)
            yield number, row


def _parquet_rows(file: BinaryIO, path: PurePath) -> Iterator[tuple[int, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=CHUNK_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except pa.ArrowException as error:
        raise DataError.at(path, f"is damaged or no Parquet file: {first_line(error)}.") from error


class _CsvSink:
    def __init__(self, path: Path, columns: list[str]) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._file, columns)
        self._writer.writeheader()

    def write(self, rows: list[Row]) -> None:
        self._writer.writerows(rows)

    def close(self) -> None:
        self._file.close()


class _LinesSink:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def write(self, rows: list[Row]) -> None:
        # `default=str`: Parquet has dates and other types that JSON lacks.
        self._file.writelines(
            json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows
        )

    def close(self) -> None:
        self._file.close()


class _ParquetSink:
    def __init__(
        self,
        partial: Path,
        path: Path,
        columns: list[str],
        numbers: Collection[str],
        rows: list[Row],
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path = path
        inferred = pa.Table.from_pylist(
            [{column: row.get(column) for column in columns} for row in rows]
        ).schema
        # A column without a value in the first rows may have text in later ones.
        self._schema = pa.schema(
            [
                field.with_type(pa.float64() if field.name in numbers else pa.string())
                if field.type == pa.null()
                else field
                for field in inferred
            ]
        )
        self._writer = pq.ParquetWriter(partial, self._schema)

    def write(self, rows: list[Row]) -> None:
        import pyarrow as pa

        try:
            self._writer.write_table(pa.Table.from_pylist(rows, schema=self._schema))
        except pa.ArrowException as error:
            raise DataError.at(
                self._path, f"the type of a column changes between rows: {error}; write JSON lines."
            ) from error

    def close(self) -> None:
        self._writer.close()
