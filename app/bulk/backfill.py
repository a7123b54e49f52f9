"""Bulk prediction on many machines: Ray Data gives splits of the input to engines of a cluster.

Each engine is a Ray actor with a device of its own. It reads its split from the input's storage,
predicts it chunk by chunk as a run on one machine does, and writes it as a Parquet partition. No
data passes through the driver. If a machine dies, others predict its unfinished splits again.
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

from app.bulk.engine_predictor import ENGINE, EnginePredictor
from app.bulk.input_scan import ScannedFile, joint_schema, scan_row, without_nulls
from app.bulk.input_splits import InputSplit, make_splits, read_split
from app.bulk.output_partitions import PartitionFolder, RowCount
from app.bulk.prediction_columns import COLUMN_NAMES, PROBABILITY_COLUMNS, PredictionColumns
from app.bulk.ray_pool import EnginePool
from app.bulk.storage import StoragePath
from app.core.errors import DataError, FatalEngineError, StartupError
from app.core.types import Format
from app.data.files import CHUNK_ROWS, chunks
from app.data.labelled_ads import ColumnNames, ad_of
from app.model.checkpoint import open_checkpoint


@dataclass(frozen=True)
class BackfillInput:
    """The scanned files of a run, their joint schema and their splits."""

    place: StoragePath
    files: Sequence[ScannedFile]
    schema: pa.Schema
    splits: Sequence[InputSplit]

    @property
    def rows(self) -> int:
        """The number of rows of all files."""
        return sum(file.rows for file in self.files)


def check_partition_rows(rows: int) -> None:
    """Raise StartupError unless splits of this many rows are whole chunks."""
    if rows < 1 or rows % CHUNK_ROWS:
        raise StartupError(f"--partition-rows has to be a multiple of {CHUNK_ROWS}, not {rows}.")


@dataclass(frozen=True)
class EngineSpec:
    """How each actor of the cluster makes its engine: see `EnginePredictor.of`."""

    folder: Path
    """The checkpoint, under the same path on all machines."""
    revision: str
    """Revision of the checkpoint on the driver's machine; all machines need the same one."""
    device: str
    dtype: str
    batch_tokens: int | None
    name: str = ENGINE

    def predictor(self) -> EnginePredictor:
        """Load the checkpoint into an engine on this machine.

        Raises:
            StartupError: the checkpoint is missing or another one, or the device cannot be used.
        """
        checkpoint = open_checkpoint(self.folder)
        if checkpoint.revision != self.revision:
            raise StartupError(f"{self.folder} is {checkpoint.revision}, not {self.revision}.")
        return EnginePredictor.of(checkpoint, self.device, self.dtype, self.batch_tokens, self.name)


class BackfillWorker:
    """A Ray actor that predicts splits and writes them as partitions.

    An engine that cannot be made does not raise: each call returns the reason, because Ray would
    show an error of an actor's constructor as a traceback and start the actor again.
    """

    def __init__(
        self,
        engines: EngineSpec,
        source: fs.FileSystem,
        schema: pa.Schema,
        format: Format,
        out: PartitionFolder,
    ) -> None:
        self._source, self._schema, self._format, self._out = source, schema, format, out
        self._refused = ""
        try:
            self._predictor = engines.predictor()
        except StartupError as error:
            node = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]  # Ray's own
            self._refused = f"On {node}: {error}"

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a split's number with its counts of rows and errors, or why it was `refused`."""
        split = InputSplit(**row)
        count, refused = RowCount(0, 0), self._refused
        if not refused:
            try:
                count = self._write_predicted(split)
            except StartupError as error:
                refused = str(error)
            except FatalEngineError:
                # This process cannot use its device any longer; Ray starts another process.
                os._exit(1)
        return {"number": split.number, **asdict(count), "refused": refused}

    def _write_predicted(self, split: InputSplit) -> RowCount:
        rows, table = read_split(self._source, split, self._schema)
        ads = [ad_of(row, split.text, split.title, self._format) for row in rows]
        answers = [one for chunk in chunks(ads) for one in self._predictor.answer(chunk)]
        return self._out.write(split.number, _with_predictions(table, answers))


def _with_predictions(table: pa.Table, answers: Sequence[PredictionColumns]) -> pa.Table:
    for name in COLUMN_NAMES:
        kind = pa.float64() if name in PROBABILITY_COLUMNS else pa.string()
        table = table.append_column(name, pa.array([one[name] for one in answers], kind))
    return table


def scan_input(place: StoragePath, columns: ColumnNames, rows: int) -> BackfillInput:
    """Scan all files on the cluster and cut them into splits.

    Args:
        place: a file, a folder or a pattern.
        columns: the names of its columns.
        rows: of a split.

    Raises:
        DataError: a file is malformed, there are no rows, or a column has different types.
    """
    paths = place.files()
    files = []
    found = ray.data.from_items([{"path": path} for path in paths], override_num_blocks=len(paths))
    for row in found.map(partial(scan_row, place.system, columns, rows)).iter_rows():
        if row["refused"]:
            raise DataError(row["refused"])
        files.append(ScannedFile(**row["found"]))
    files = sorted((file for file in files if file.rows), key=lambda file: file.path)
    if not files:
        raise DataError.at(place.path, "has no rows.")
    schemas = (pa.ipc.read_schema(pa.py_buffer(file.schema)) for file in files)
    schema = without_nulls(joint_schema(schemas, place.path))
    return BackfillInput(place, files, schema, [*make_splits(files, rows)])


def backfill(
    read: BackfillInput,
    engines: EngineSpec,
    pool: EnginePool,
    format: Format,
    out: PartitionFolder,
    progress: Callable[[int], None] = lambda _: None,
) -> RowCount:
    """Predict all splits that have no partition yet.

    Args:
        read: the input, as `scan_input` returned it.
        engines: how engines are made.
        pool: how many there are, and the resources of each.
        format: of texts and titles.
        out: the output folder, after `PartitionFolder.begin`.
        progress: called with the number of rows predicted since the last call.

    Returns:
        The number of rows, and that of rows with an error.

    Raises:
        StartupError: a machine cannot use the checkpoint or the input, or the engines die or make
            no progress.
        DataError: partitions are missing at the end.
    """
    counts = {
        number: count
        for number, count in out.present().items()
        if count.rows == read.splits[number].rows
    }
    progress(sum(count.rows for count in counts.values()))
    left = [split for split in read.splits if split.number not in counts]
    worker_args = (engines, read.place.system, read.schema, format, out)
    for row in _predict_splits(left, worker_args, pool):
        if row["refused"]:
            raise StartupError(row["refused"])
        counts[row["number"]] = RowCount(row["rows"], row["errors"])
        progress(row["rows"])
    return out.finish(counts, read.rows)


def _predict_splits(
    splits: Sequence[InputSplit], worker_args: tuple[Any, ...], pool: EnginePool
) -> Iterator[Any]:
    """Yield what `BackfillWorker` returns for each split, as they are finished."""
    if not splits:
        return
    # A block for each split, so that an engine gets the next one when it has finished one.
    items = ray.data.from_items(
        [asdict(split) for split in splits], override_num_blocks=len(splits)
    )
    predicted = items.map(
        BackfillWorker,  # type: ignore[arg-type]  # the type of its instances
        fn_constructor_args=worker_args,
        # A pool of fixed size keeps an idle engine until all splits are assigned.
        compute=ray.data.ActorPoolStrategy(size=min(pool.engines, len(splits))),
        num_cpus=pool.cpus,
        num_gpus=pool.gpus,
    )
    try:
        yield from predicted.iter_rows()
    except (ray.exceptions.RayActorError, ExecutionTimeoutError) as error:
        raise StartupError(
            "The engines die or make no progress; the logs of Ray say why. "
            "Repeat the command to continue."
        ) from error
