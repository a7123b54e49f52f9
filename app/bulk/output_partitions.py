"""The output folder of a backfill: Parquet partitions, each of which appears when it is complete.

The file `_about.json` in it says what the partitions depend on, so that only the same run continues
an interrupted one. The file `_SUCCESS` says that all partitions are complete.
"""

import json
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from app.bulk.journal import check_same_run
from app.bulk.prediction_columns import ERROR_COLUMN
from app.bulk.storage import StoragePath
from app.core.errors import DataError, first_line

_ABOUT, _SUCCESS = "_about.json", "_SUCCESS"
_PARTIAL = ".partial-"
_OBJECT_STORES = ("s3", "gcs", "abfs")
"""File systems where a file appears when it is closed, and a rename would copy it."""


@dataclass(frozen=True)
class RowCount:
    """The rows of one or more partitions, and how many of them have an error."""

    rows: int
    errors: int


@dataclass(frozen=True)
class PartitionFolder:
    """The output folder. It can be sent to the processes that write partitions."""

    place: StoragePath

    def check(self, *, overwrite: bool) -> None:
        """Check before the work that its result may be written here.

        Raises:
            DataError: the folder holds a finished run and `overwrite` is off, or files that
                no run wrote.
        """
        names = self._names()
        if _SUCCESS in names and not overwrite:
            hint = "name another folder, or add --overwrite."
        elif names and _ABOUT not in names:
            hint = "and is no earlier result; name another folder."
        else:
            return
        raise DataError.at(self.place.path, f"exists already; {hint}")

    def begin(self, about: Mapping[str, str]) -> None:
        """Begin a run: continue an unfinished one, delete a finished one, or create the folder.

        Args:
            about: what the partitions depend on, by name.

        Raises:
            DataError: the folder holds an unfinished run that differs in these.
        """
        names = self._names()
        if _SUCCESS in names:
            self._clear(names)
        elif _ABOUT in names:
            check_same_run(self._read_about(), about, self.place.path, "the folder")
            return
        self.place.system.create_dir(self.place.path)
        self._put(_ABOUT, json.dumps(about, ensure_ascii=False, indent=1).encode())

    def _read_about(self) -> dict[str, str]:
        with self.place.system.open_input_file(self._path(_ABOUT)) as file:
            about: dict[str, str] = json.loads(file.read())
            return about

    def present(self) -> dict[int, RowCount]:
        """Return the row counts of all intact partitions, by partition number."""
        numbers = {_number(name): name for name in self._names() if name.endswith(".parquet")}
        with ThreadPoolExecutor(16) as pool:
            counts = pool.map(self._count, numbers.values())
            return {
                number: count
                for number, count in zip(numbers, counts, strict=True)
                if number is not None and count is not None
            }

    def _count(self, name: str) -> RowCount | None:
        try:
            with (
                self.place.system.open_input_file(self._path(name)) as file,
                pq.ParquetFile(file) as table,
            ):
                footer = table.metadata
        except (OSError, pa.ArrowException):
            return None
        # The column of errors is the last one.
        groups = map(footer.row_group, range(footer.num_row_groups))
        nulls = (group.column(group.num_columns - 1).statistics.null_count for group in groups)
        return RowCount(footer.num_rows, footer.num_rows - sum(nulls))

    def write(self, number: int, table: pa.Table) -> RowCount:
        """Write a partition, or replace it; the file appears when it is complete."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        self._put(f"part-{number:05}.parquet", sink.getvalue())
        return RowCount(len(table), len(table) - table[ERROR_COLUMN].null_count)

    def finish(self, counts: Mapping[int, RowCount], rows: int) -> RowCount:
        """Mark the run as finished, and return the counts of all its partitions together.

        Raises:
            DataError: rows or partitions are missing.
        """
        total = RowCount(
            sum(one.rows for one in counts.values()), sum(one.errors for one in counts.values())
        )
        if total.rows != rows or sorted(counts) != [*range(len(counts))]:
            raise DataError.at(
                self.place.path, f"has {total.rows} of {rows} rows; repeat the command to continue."
            )
        self._remove_partial_files()
        self._put(_SUCCESS, json.dumps({"rows": total.rows, "errors": total.errors}).encode())
        return total

    def _remove_partial_files(self) -> None:
        """Delete what killed processes left unfinished."""
        for info in self.place.system.get_file_info(fs.FileSelector(self.place.path)):
            if info.base_name.startswith(_PARTIAL):
                self.place.system.delete_file(info.path)

    def _names(self) -> set[str]:
        """Return the names of all files but hidden ones, which are not complete."""
        selector = fs.FileSelector(self.place.path, allow_not_found=True)
        try:
            found = self.place.system.get_file_info(selector)
        except OSError as error:
            raise DataError.at(self.place.path, f"is no folder: {first_line(error)}.") from error
        return {info.base_name for info in found if not info.base_name.startswith(".")}

    def _clear(self, names: set[str]) -> None:
        # In this order an interruption leaves an unfinished run with its `_about.json`.
        parts = [name for name in names if _number(name) is not None]
        for name in [_SUCCESS, *parts, _ABOUT]:
            self.place.system.delete_file(self._path(name))

    def _put(self, name: str, content: bytes | pa.Buffer) -> None:
        system = self.place.system
        in_store = system.type_name in _OBJECT_STORES
        path = self._path(name if in_store else f"{_PARTIAL}{uuid.uuid4().hex}")
        with system.open_output_stream(path) as file:
            file.write(content)
        if not in_store:
            system.move(path, self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.place.path.rstrip('/')}/{name}"


def _number(name: str) -> int | None:
    digits = name.removeprefix("part-").removesuffix(".parquet")
    return int(digits) if digits.isdigit() and name.startswith("part-") else None
