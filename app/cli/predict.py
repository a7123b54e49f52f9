"""The command `doppelkopf predict`: on this machine, by a running server, or on a Ray cluster."""

import os
import re
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.console import TRAIN_EXTRA, require_extra, silence_libraries, stderr, stdout
from app.cli.options import BatchTokens, Device, Dtype, TextColumn, TitleColumn
from app.core.errors import StartupError
from app.serving.settings import CLIENT_KEY, PREFIX

if TYPE_CHECKING:
    from app.bulk.predict import PredictAds
    from app.data.labelled_ads import ColumnNames

RAY_ADDRESS = re.compile(r"auto|local|(ray://)?[^/\s]+:\d+")


class TextFormat(StrEnum):
    """How the texts of ads are written, as `app.core.types.Format`."""

    TEXT = "text"
    HTML = "html"
    AUTO = "auto"


@dataclass(frozen=True)
class _Choices:
    """The options on which predictions depend, besides the ads and the checkpoint."""

    columns: "ColumnNames"
    format: TextFormat
    device: str
    dtype: str
    batch_tokens: int | None

    def noted(self, device: str | None = None) -> dict[str, str]:
        """Return the options that have to be the same to continue an interrupted run.

        Args:
            device: the one that was chosen, where the option may be "auto".
        """
        options = (device or self.device, self.dtype, self.batch_tokens)
        return {
            "choice of columns": repr(self.columns),
            "format": self.format.value,
            "device, dtype or batch size": " ".join(map(str, options)),
        }


def predict(
    data: Annotated[
        str,
        typer.Option(
            help="Ads: .csv, .jsonl (or .ndjson, .json) or .parquet; with --ray also a folder of "
            "them, a pattern, or an address of an object store."
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            help="File to write; its suffix names the format. With --ray a folder or an address, "
            "for partitions of Parquet."
        ),
    ],
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="A checkpoint folder.")
    ] = None,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="Send the ads to a running server instead.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Predict on a Ray cluster: auto, HOST:PORT or local. auto is the cluster that "
            "RAY_ADDRESS names, else the one of `ray start` on this machine, else local; local "
            "uses the devices of this machine alone.",
        ),
    ] = None,
    partition_rows: Annotated[
        int, typer.Option(help="Rows per partition, with --ray; a multiple of 512.")
    ] = 4096,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace --out if it exists.")
    ] = False,
    text_column: TextColumn = None,
    title_column: TitleColumn = None,
    format: Annotated[
        TextFormat, typer.Option(help="How texts and titles are written; auto looks at each.")
    ] = TextFormat.TEXT,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_tokens: BatchTokens = None,
) -> None:
    """Add both heads' label and probability to the columns of a file of ads.

    A row without a text gets an error in the column prediction_error instead.

    Predicts with the checkpoint DIR, or sends the ads to a server: --server http://localhost:8000,
    with the API key of the variable DOPPELKOPF_API_KEY. The server answers single ads first.

    After an interrupt, repeat the command to continue; answers are kept in the hidden file
    .NAME.answers next to --out until it is complete.

    With --ray every device of a cluster gets an engine. All machines need DIR, --data and --out
    under the same paths. Predictions are those of one machine with the same kind of device.
    """
    require_extra() if ray is None else require_extra([*TRAIN_EXTRA, "ray"], "ray,train")
    silence_libraries()
    if ray is not None and not RAY_ADDRESS.fullmatch(ray):
        raise StartupError(f"--ray has to be auto, local or HOST:PORT, not '{ray}'.")
    if (folder is None) == (server is None):
        raise StartupError("Name a checkpoint folder, or a server with --server.")
    from app.data.labelled_ads import ColumnNames

    choices = _Choices(ColumnNames(text_column, title_column), format, device, dtype, batch_tokens)
    if ray is not None:
        if folder is None:
            raise StartupError("With --ray name a checkpoint folder, not a server.")
        rows, errors = _on_cluster(
            ray, data, out, folder, choices, partition_rows, overwrite=overwrite
        )
    else:
        source = folder or str(server)
        rows, errors = _on_file(Path(data), Path(out), source, choices, overwrite=overwrite)
    error_note = f", {errors} of them with an error" if errors else ""
    # On one line, however long the path is, because programs read it too.
    stdout.print(f"Wrote {rows} rows to {out}{error_note}.", highlight=False, soft_wrap=True)


def _on_file(
    data: Path, out: Path, source: Path | str, choices: _Choices, *, overwrite: bool
) -> tuple[int, int]:
    """Predict one file here or by a server; return the rows written and those with an error.

    Args:
        data: the ads.
        out: the file to write.
        source: a checkpoint folder, or the address of a server.
        choices: further options.
        overwrite: whether `out` may exist.
    """
    with ExitStack() as opened:
        with stderr.status("Loading"):
            from app.bulk.journal import Journal
            from app.bulk.predict import check_input, check_output, journal_path
            from app.bulk.predict import predict as run
            from app.cli.progress import progress_bar
            from app.data.labelled_ads import sha256

            check_output(out, data, overwrite=overwrite)
            checked = check_input(data, choices.columns)
            about = {"input": sha256(data), **choices.noted()}
            if isinstance(source, Path):
                answer, revision = _by_engine(source, choices)
            else:
                answer, revision = _by_server(opened, source)
            about["checkpoint revision"] = revision
        journal = opened.enter_context(Journal(journal_path(out), about, out))
        progress = opened.enter_context(progress_bar(stderr))
        task = progress.add_task("Predicting", total=checked.rows)
        errors = run(
            checked, choices.columns, choices.format.value, out, journal, answer,
            lambda rows: progress.advance(task, rows),
        )  # fmt: skip
    return checked.rows, errors


def _by_engine(folder: Path, choices: _Choices) -> "tuple[PredictAds, str]":
    """Return the function that predicts with a checkpoint, and the checkpoint's revision."""
    from app.bulk.engine_predictor import EnginePredictor
    from app.model.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(folder)
    predictor = EnginePredictor.of(checkpoint, choices.device, choices.dtype, choices.batch_tokens)
    return predictor.answer, checkpoint.revision


def _by_server(opened: ExitStack, url: str) -> "tuple[PredictAds, str]":
    """Return the function that predicts by a server, and the revision that the server serves."""
    from app.bulk.server_predictor import connect_to_server

    key = os.environ.get(f"{PREFIX}{CLIENT_KEY.upper()}")
    sender = opened.enter_context(connect_to_server(url, key))
    return sender.answer, sender.model.revision


def _on_cluster(
    address: str, data: str, out: str, folder: Path, choices: _Choices, partition_rows: int,
    *, overwrite: bool,
) -> tuple[int, int]:  # fmt: skip
    """Predict on a Ray cluster; return the rows written and those with an error."""
    with ExitStack() as opened:
        with stderr.status("Reading"):
            from app.bulk.backfill import EngineSpec, backfill, check_partition_rows, scan_input
            from app.bulk.input_scan import fingerprint
            from app.bulk.output_partitions import PartitionFolder
            from app.bulk.ray_pool import EnginePool, ray_connection
            from app.bulk.storage import StoragePath
            from app.cli.progress import progress_bar
            from app.model.checkpoint import open_checkpoint

            check_partition_rows(partition_rows)
            revision = open_checkpoint(folder).revision
            source, target = StoragePath.of(data), PartitionFolder(StoragePath.of(out))
            target.check(overwrite=overwrite)
            opened.enter_context(ray_connection(address))
            pool = EnginePool.of_cluster(choices.device)
            read = scan_input(source, choices.columns, partition_rows)
            about = {
                "input": fingerprint(read.files),
                **choices.noted(pool.device),
                "checkpoint revision": revision,
                "number of rows a partition": str(partition_rows),
            }
            target.begin(about)
        engines = EngineSpec(
            folder.absolute(), revision, pool.device, choices.dtype, choices.batch_tokens
        )
        progress = opened.enter_context(progress_bar(stderr))
        task = progress.add_task("Predicting", total=read.rows)
        count = backfill(
            read, engines, pool, choices.format.value, target,
            lambda rows: progress.advance(task, rows),
        )  # fmt: skip
    return count.rows, count.errors
