"""Bulk prediction on many machines: Ray Data hands splits of the input to engines of a cluster.

Each engine is an actor with a device of its own. It reads its split from where the input lies,
answers it chunk by chunk as a run on one machine does, and writes it as a partition of Parquet:
nothing of the data passes through the driver. What dies with a machine is answered again by others.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from pyarrow import fs
from ray.data.exceptions import ExecutionTimeoutError

from app.bulk.input_scan import Inspected, inspected, joint_schema, without_nulls
from app.bulk.input_splits import Split, read_split, splits_of
from app.bulk.journal import Answer
from app.bulk.output_partitions import Count, Partitions
from app.bulk.predict import ENGINE, PROBABILITIES, Predictor, ad_of, predicted_columns
from app.bulk.ray_pool import Pool
from app.bulk.storage import Place
from app.core.errors import DataError, FatalEngineError, StartupError
from app.core.types import Format
from app.data.files import CHUNK, chunks
from app.data.labelled_ads import Columns
from app.model.checkpoint import open_checkpoint


@dataclass(frozen=True)
class Input:
    """All files of a run, read through."""

    place: Place
    files: Sequence[Inspected]
    schema: pa.Schema
    splits: Sequence[Split]

    @property
    def rows(self) -> int:
        """How many rows they have."""
        return sum(file.rows for file in self.files)


def check_rows(rows: int) -> None:
    """Raise StartupError where splits of so many rows are no whole chunks."""
    if rows < 1 or rows % CHUNK:
        raise StartupError(f"--partition-rows has to be a multiple of {CHUNK}, not {rows}.")


@dataclass(frozen=True)
class Engines:
    """What answers, by the same names as on one machine; `name` of its class."""

    folder: Path
    revision: str
    device: str
    dtype: str
    batch_tokens: int | None
    name: str = ENGINE

    def predictor(self) -> Predictor:
        """Load the checkpoint and warm an engine up.

        Raises:
            StartupError: one of them cannot be used here.
        """
        checkpoint = open_checkpoint(self.folder)
        if checkpoint.revision != self.revision:
            raise StartupError(f"{self.folder} is {checkpoint.revision}, not {self.revision}.")
        return Predictor.of(checkpoint, self.device, self.dtype, self.batch_tokens, self.name)


class Worker:
    """An actor of the cluster: answers splits and writes them."""

    def __init__(
        self,
        engines: Engines,
        source: fs.FileSystem,
        schema: pa.Schema,
        format: Format,
        out: Partitions,
    ) -> None:
        self._source, self._schema, self._format, self._out = source, schema, format, out
        self._refused = ""
        try:
            self._predictor = engines.predictor()
        except StartupError as error:
            # As an answer it reaches the user as one sentence.
            node = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]  # Ray's own
            self._refused = f"On {node}: {error}"

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return how many rows and errors a split has, or why it cannot be answered."""
        split = Split(**row)
        count = Count(0, 0)
        if not self._refused:
            try:
                count = self._answer(split)
            except StartupError as error:
                return {"number": split.number, **asdict(count), "refused": str(error)}
            except FatalEngineError:
                # The device is lost to this process; Ray starts another.
                os._exit(1)
        return {"number": split.number, **asdict(count), "refused": self._refused}

    def _answer(self, split: Split) -> Count:
        rows, table = read_split(self._source, split, self._schema)
        ads = [ad_of(row, split.text, split.title, self._format) for row in rows]
        answers = [one for chunk in chunks(ads) for one in self._predictor.answer(chunk)]
        return self._out.write(split.number, _with_answers(table, answers))


def _with_answers(table: pa.Table, answers: Sequence[Answer]) -> pa.Table:
    for name in predicted_columns():
        kind = pa.float64() if name in PROBABILITIES else pa.string()
        table = table.append_column(name, pa.array([one[name] for one in answers], kind))
    return table


def read_through(place: Place, columns: Columns, rows: int) -> Input:
    """Read all files through on the cluster, and cut them into splits of so many rows.

    Raises:
        DataError: one is malformed, there are no rows, or the columns do not fit together.
    """
    paths = place.files()
    files = []
    found = ray.data.from_items([{"path": path} for path in paths], override_num_blocks=len(paths))
    for row in found.map(partial(inspected, place.system, columns, rows)).iter_rows():
        if row["refused"]:
            raise DataError(row["refused"])
        files.append(Inspected(**row["found"]))
    files = sorted((file for file in files if file.rows), key=lambda file: file.path)
    if not files:
        raise DataError.at(place.path, "has no rows.")
    schemas = (pa.ipc.read_schema(pa.py_buffer(file.schema)) for file in files)
    schema = without_nulls(joint_schema(schemas, place.path))
    return Input(place, files, schema, [*splits_of(files, rows)])


def backfill(
    read: Input,
    engines: Engines,
    pool: Pool,
    format: Format,
    out: Partitions,
    progress: Callable[[int], None] = lambda _: None,
) -> Count:
    """Answer all splits that have no partition yet.

    Args:
        read: what `read_through` returned.
        engines: what answers.
        pool: how many there are, and what each takes of its machine.
        format: how texts and titles are written.
        out: the folder, begun.
        progress: is told how many more rows are answered.

    Returns:
        how many rows there are, and how many of them got an error.

    Raises:
        StartupError: the checkpoint or the input cannot be used on a machine, or engines die.
    """
    counts = {
        number: count
        for number, count in out.present().items()
        if count.rows == read.splits[number].rows
    }
    progress(sum(count.rows for count in counts.values()))
    left = [split for split in read.splits if split.number not in counts]
    worker_args = (engines, read.place.system, read.schema, format, out)
    for row in _answered(left, worker_args, pool):
        if row["refused"]:
            raise StartupError(row["refused"])
        counts[row["number"]] = Count(row["rows"], row["errors"])
        progress(row["rows"])
    return out.finish(counts, read.rows)


def _answered(splits: Sequence[Split], args: tuple[Any, ...], pool: Pool) -> Iterator[Any]:
    if not splits:
        return
    # A block for each split, so that an engine takes one when it has finished another.
    items = ray.data.from_items(
        [asdict(split) for split in splits], override_num_blocks=len(splits)
    )
    answered = items.map(
        Worker,  # type: ignore[arg-type]  # the type of its instances
        fn_constructor_args=args,
        # A pool of fixed size: it gives idle engines back only when all splits are handed out.
        compute=ray.data.ActorPoolStrategy(size=min(pool.engines, len(splits))),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus,
    )
    try:
        yield from answered.iter_rows()
    except (ray.exceptions.RayActorError, ExecutionTimeoutError) as error:
        raise StartupError(
            "The engines end or stand still, and the logs of Ray tell why; "
            "repeat the command to go on."
        ) from error
