"""A folder of Parquet partitions that a run fills, each whole or not there.

Beside them `_about.json` says what they depend on, so that an interrupted run goes on with those
that are there and no other run mixes with it; `_SUCCESS` says that all of them are there.
"""

import json
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from app.bulk.predict import ERROR
from app.bulk.storage import Place
from app.core.errors import DataError, first_line

_ABOUT, _SUCCESS = "_about.json", "_SUCCESS"
_PARTIAL = ".partial-"
_PUTS = ("s3", "gcs", "abfs")
"""Object stores: a file appears when it is closed, and a rename would copy it."""


@dataclass(frozen=True)
class Count:
    """What is in a partition."""

    rows: int
    errors: int


@dataclass(frozen=True)
class Partitions:
    """The folder; travels between processes."""

    place: Place

    def check(self, *, overwrite: bool) -> None:
        """Stop before work begins whose result should not be written.

        Raises:
            DataError: a finished run is here and stays, or something else than a run.
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
        """Begin a run in the place of a finished one, or go on with one.

        Args:
            about: what the partitions depend on, by name; the same again goes on.

        Raises:
            DataError: another run is unfinished here.
        """
        names = self._names()
        if _SUCCESS in names:
            self._clear(names)
        elif _ABOUT in names:
            self._require(about)
            return
        self.place.system.create_dir(self.place.path)
        self._put(_ABOUT, json.dumps(about, ensure_ascii=False, indent=1).encode())

    def _require(self, about: Mapping[str, str]) -> None:
        with self.place.system.open_input_file(self._path(_ABOUT)) as file:
            before = json.loads(file.read())
        other = [name for name in about if before.get(name) != about[name]]
        if other:
            raise DataError.at(
                self.place.path,
                f"an interrupted run with another {' and '.join(other)} is unfinished; "
                "repeat it to finish it, or delete the folder to begin anew.",
            )

    def present(self) -> dict[int, Count]:
        """Return what is there, by number; a partition that is damaged is not."""
        numbers = {_number(name): name for name in self._names() if name.endswith(".parquet")}
        with ThreadPoolExecutor(16) as pool:
            counts = pool.map(self._count, numbers.values())
            return {
                number: count
                for number, count in zip(numbers, counts, strict=True)
                if number is not None and count is not None
            }

    def _count(self, name: str) -> Count | None:
        try:
            with (
                self.place.system.open_input_file(self._path(name)) as file,
                pq.ParquetFile(file) as table,
            ):
                footer = table.metadata
        except (OSError, pa.ArrowException):
            return None
        # The error's column is the last one.
        groups = map(footer.row_group, range(footer.num_row_groups))
        nulls = (group.column(group.num_columns - 1).statistics.null_count for group in groups)
        return Count(footer.num_rows, footer.num_rows - sum(nulls))

    def write(self, number: int, table: pa.Table) -> Count:
        """Write a partition; it appears when it is complete, in the place of the same."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        self._put(f"part-{number:05}.parquet", sink.getvalue())
        return Count(len(table), len(table) - table[ERROR].null_count)

    def finish(self, counts: Mapping[int, Count], rows: int) -> Count:
        """Say that all rows are there.

        Raises:
            DataError: they are not.
        """
        found = Count(
            sum(one.rows for one in counts.values()), sum(one.errors for one in counts.values())
        )
        if found.rows != rows or sorted(counts) != [*range(len(counts))]:
            raise DataError.at(
                self.place.path, f"has {found.rows} of {rows} rows; repeat the command to go on."
            )
        self._clear_rests()
        self._put(_SUCCESS, json.dumps({"rows": found.rows, "errors": found.errors}).encode())
        return found

    def _clear_rests(self) -> None:
        """Remove what kills left half written."""
        for info in self.place.system.get_file_info(fs.FileSelector(self.place.path)):
            if info.base_name.startswith(_PARTIAL):
                self.place.system.delete_file(info.path)

    def _names(self) -> set[str]:
        """Return what is here, without what is hidden, as files that are not complete."""
        selector = fs.FileSelector(self.place.path, allow_not_found=True)
        try:
            found = self.place.system.get_file_info(selector)
        except OSError as error:
            raise DataError.at(self.place.path, f"is no folder: {first_line(error)}.") from error
        return {info.base_name for info in found if not info.base_name.startswith(".")}

    def _clear(self, names: set[str]) -> None:
        # First what says that it is complete, last what says what the rest is about.
        parts = [name for name in names if _number(name) is not None]
        for name in [_SUCCESS, *parts, _ABOUT]:
            self.place.system.delete_file(self._path(name))

    def _put(self, name: str, content: bytes | pa.Buffer) -> None:
        system = self.place.system
        atomic = system.type_name in _PUTS
        path = self._path(name if atomic else f"{_PARTIAL}{uuid.uuid4().hex}")
        with system.open_output_stream(path) as file:
            file.write(content)
        if not atomic:
            system.move(path, self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.place.path.rstrip('/')}/{name}"


def _number(name: str) -> int | None:
    digits = name.removeprefix("part-").removesuffix(".parquet")
    return int(digits) if digits.isdigit() and name.startswith("part-") else None
