"""A file of ads cut into splits, so that any machine reads a part of it and nothing before that.

A split is a whole number of `CHUNK`s, counted from the file's first row: what answers chunk by
chunk gives the same answers as if it had read the file from its beginning.
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

from app.bulk.input_scan import Inspected
from app.bulk.predict import changed
from app.core.errors import DataError, first_line
from app.data.files import PARQUET, Row, is_one_of, rows_of

_BATCH = 4096
"""Rows of Parquet that are decoded at a time."""


@dataclass(frozen=True)
class Split:
    """Some rows of a file; `number` counts those of all files."""

    number: int
    path: str
    size: int
    modified: int
    first: int
    rows: int
    head: int
    begin: int
    end: int
    text: str
    title: str | None


def splits_of(files: Iterable[Inspected], rows: int) -> Iterator[Split]:
    """Yield the splits of all files, of so many rows but the last of each."""
    number = 0
    for file in files:
        for index, first in enumerate(range(0, file.rows, rows)):
            begin, end = file.cuts[index : index + 2] if file.cuts else (0, 0)
            yield Split(
                number, file.path, file.size, file.modified, first, min(rows, file.rows - first),
                file.cuts[0] if file.cuts else 0, begin, end, file.text, file.title,
            )  # fmt: skip
            number += 1


def read_split(
    system: fs.FileSystem, split: Split, schema: pa.Schema
) -> tuple[list[Row], pa.Table]:
    """Return a split's rows, and its columns as this schema has them.

    Raises:
        DataError: the file is no longer what was inspected.
    """
    name = PurePosixPath(split.path)
    try:
        info = system.get_file_info(split.path)
        if (info.size, info.mtime_ns or 0) != (split.size, split.modified):
            raise changed(name)
        with system.open_input_file(split.path) as file:
            if is_one_of(name, PARQUET):
                found = _groups(file, split)
                rows = found.select([one for one in (split.text, split.title) if one]).to_pylist()
                table = _fitted(found, schema)
            else:
                content = BytesIO(
                    file.read_at(split.head, 0) + file.read_at(split.end - split.begin, split.begin)
                )
                rows = [row for _, row in rows_of(content, name)]
                table = pa.Table.from_pylist(rows, schema=schema)
    except OSError as error:
        raise DataError.at(split.path, f"cannot be read: {first_line(error)}.") from error
    except pa.ArrowException as error:
        raise DataError.at(split.path, f"does not fit its columns: {first_line(error)}.") from error
    if len(rows) != split.rows:
        raise changed(name)
    return rows, table


def _groups(file: Any, split: Split) -> pa.Table:
    """Return a split of Parquet; of its row groups only those that it is in are read."""
    with pq.ParquetFile(file) as table:
        sizes = [table.metadata.row_group(n).num_rows for n in range(table.num_row_groups)]
        ends = list(accumulate(sizes))
        last = split.first + split.rows
        groups = [
            n
            for n, (size, end) in enumerate(zip(sizes, ends, strict=True))
            if end > split.first and end - size < last
        ]
        before = ends[groups[0]] - sizes[groups[0]]
        seen, parts = before, []
        for batch in table.iter_batches(batch_size=_BATCH, row_groups=groups):
            if seen + len(batch) > split.first:
                start = max(split.first - seen, 0)
                parts.append(batch.slice(start, last - seen - start))
            seen += len(batch)
            if seen >= last:
                break
        return pa.Table.from_batches(parts)


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    return pa.table(
        [
            table[field.name].cast(field.type)
            if field.name in table.column_names
            else pa.nulls(len(table), field.type)
            for field in schema
        ],
        schema=schema,
    )
