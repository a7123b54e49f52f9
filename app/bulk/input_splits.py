"""Splits of files of ads, which any machine can read without reading what comes before.

A split consists of whole chunks (`CHUNK_ROWS`) from the first row of its file on: a predictor that
works chunk by chunk gives the same predictions as if it read the file from its beginning.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import accumulate
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from app.bulk.input_scan import ScannedFile
from app.bulk.predict import changed_error
from app.core.errors import DataError, first_line
from app.data.files import PARQUET, Row, has_suffix, rows_of

_BATCH = 4096
"""Rows of Parquet that are decoded at a time."""


@dataclass(frozen=True)
class InputSplit:
    """Consecutive rows of a file."""

    number: int
    """Counts the splits of all files from 0."""
    path: str
    size: int
    """Size of the file in bytes, when it was scanned."""
    modified_ns: int
    first_row: int
    rows: int
    header_end: int
    """The byte at which the header of a CSV file ends."""
    begin: int
    """The byte at which the first row begins; 0 for Parquet."""
    end: int
    """The byte at which the last row ends; 0 for Parquet."""
    text: str
    """The column of texts."""
    title: str | None


def make_splits(files: Iterable[ScannedFile], rows: int) -> Iterator[InputSplit]:
    """Yield the splits of all files; each has `rows` rows, the last of a file perhaps fewer."""
    number = 0
    for file in files:
        for index, first in enumerate(range(0, file.rows, rows)):
            begin, end = file.cuts[index : index + 2] if file.cuts else (0, 0)
            yield InputSplit(
                number, file.path, file.size, file.modified_ns, first, min(rows, file.rows - first),
                file.cuts[0] if file.cuts else 0, begin, end, file.text, file.title,
            )  # fmt: skip
            number += 1


def read_split(
    system: fs.FileSystem, split: InputSplit, schema: pa.Schema
) -> tuple[list[Row], pa.Table]:
    """Read a split.

    Args:
        system: the file system.
        split: what to read.
        schema: of the table to return.

    Returns:
        Its rows (of Parquet with the columns of texts and titles alone), and all its columns.

    Raises:
        DataError: the file changed since it was scanned, or cannot be read.
    """
    name = PurePosixPath(split.path)
    try:
        info = system.get_file_info(split.path)
        if (info.size, info.mtime_ns or 0) != (split.size, split.modified_ns):
            raise changed_error(name)
        with system.open_input_file(split.path) as file:
            if has_suffix(name, PARQUET):
                whole = _read_row_groups(file, split)
                rows = whole.select([one for one in (split.text, split.title) if one]).to_pylist()
                table = _cast(whole, schema)
            else:
                header = file.read_at(split.header_end, 0)
                content = file.read_at(split.end - split.begin, split.begin)
                rows = [row for _, row in rows_of(BytesIO(header + content), name)]
                table = pa.Table.from_pylist(rows, schema=schema)
    except OSError as error:
        raise DataError.at(split.path, f"cannot be read: {first_line(error)}.") from error
    except pa.ArrowException as error:
        raise DataError.at(split.path, f"does not fit its columns: {first_line(error)}.") from error
    if len(rows) != split.rows:
        raise changed_error(name)
    return rows, table


def _read_row_groups(file: Any, split: InputSplit) -> pa.Table:
    """Return a split of a Parquet file; only the row groups that it overlaps are read."""
    with pq.ParquetFile(file) as table:
        sizes = [table.metadata.row_group(n).num_rows for n in range(table.num_row_groups)]
        ends = list(accumulate(sizes))
        last = split.first_row + split.rows
        groups = [
            n
            for n, (size, end) in enumerate(zip(sizes, ends, strict=True))
            if end > split.first_row and end - size < last
        ]
        before = ends[groups[0]] - sizes[groups[0]]
        seen, parts = before, []
        for batch in table.iter_batches(batch_size=_BATCH, row_groups=groups):
            if seen + len(batch) > split.first_row:
                start = max(split.first_row - seen, 0)
                parts.append(batch.slice(start, last - seen - start))
            seen += len(batch)
            if seen >= last:
                break
        return pa.Table.from_batches(parts)


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns of a schema; those that it lacks have no values."""
    return pa.table(
        [
            table[field.name].cast(field.type)
            if field.name in table.column_names
            else pa.nulls(len(table), field.type)
            for field in schema
        ],
        schema=schema,
    )
