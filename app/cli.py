"""The command line: the only place that wires the parts together.

Heavy libraries are imported inside the commands, so that `doppelkopf --help` answers at once.
"""

import inspect
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand, TyperGroup

from app.core.errors import StartupError
from app.serving.model_store import MODEL_STORE
from app.serving.settings import CLIENT_KEY, PREFIX, Settings, load_settings

if TYPE_CHECKING:
    from app.bulk.predict import Answering
    from app.core.types import Ad
    from app.data.labelled_ads import Columns
    from app.engine.engine import Engine
    from app.model.checkpoint import Checkpoint

EXTRA = ("accelerate", "matplotlib", "pandas", "pyarrow", "sklearn")
"""What `pip install "doppelkopf[train]"` adds."""

# With several processes (accelerate launch) only the first speaks.
_FIRST = os.environ.get("RANK", "0") == "0"
_out = Console(quiet=not _FIRST)
_err = Console(stderr=True, quiet=not _FIRST, highlight=False)


class Commands(TyperGroup):
    """Ends a command that cannot go on with one sentence and an exit code, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; 1 for what was refused, 130 for Ctrl-C."""
        try:
            return super().invoke(ctx)
        except StartupError as error:
            _tell(str(error))
            raise typer.Exit(1) from error
        except KeyboardInterrupt as stop:
            _tell(str(stop) or "Interrupted.")
            raise typer.Exit(130) from stop


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Job category and minimum education of job ads, from one encoder pass.",
)
checkpoints = typer.Typer(no_args_is_help=True, help="Look at checkpoints, and bring them in.")
app.add_typer(checkpoints, name="checkpoint")

Data = Annotated[
    Path,
    typer.Option(help="Ads: .csv, .jsonl (or .ndjson, .json) or .parquet.", show_default=False),
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A checkpoint folder.")]
TextColumn = Annotated[
    str | None,
    typer.Option(help='The ads\' column. Default: "text"; "title" where it is missing.'),
]
TitleColumn = Annotated[
    str | None, typer.Option(help='The titles\' column. Default: "title", where there is one.')
]
JobColumn = Annotated[str | None, typer.Option(help='Default: "job_category".')]
EducationColumn = Annotated[str | None, typer.Option(help='Default: "min_education".')]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, float16, bfloat16 or int8.")]
BatchTokens = Annotated[
    int | None,
    typer.Option(min=1, help="Tokens of a pass. Default: 1024 on a CPU, 32768 on CUDA."),
]
MaxLength = Annotated[
    int | None,
    typer.Option(help="Tokens of a window. Default: the encoder's positions, up to 512."),
]
Base = Annotated[
    str,
    typer.Option(help="A base encoder: a folder, or a name on the model hub.", show_default=False),
]


class TextFormat(StrEnum):
    """How an ad's texts are written, as `app.core.types.Format`."""

    TEXT = "text"
    HTML = "html"
    AUTO = "auto"


@app.command()
def train(
    data: Data,
    base: Base,
    out: Annotated[Path, typer.Option(help="The checkpoint folder to make.", show_default=False)],
    labels: Annotated[
        Path | None, typer.Option(help="JSON that fixes labels, order and display names.")
    ] = None,
    validation: Annotated[Path | None, typer.Option(help="Ads to validate with.")] = None,
    validation_share: Annotated[
        float, typer.Option(help="Share of the rows to validate with, without --validation.")
    ] = 0.1,
    group_column: Annotated[
        str | None, typer.Option(help="Rows alike in it are not split, as one employer's ads.")
    ] = None,
    text_column: TextColumn = None,
    title_column: TitleColumn = None,
    job_category_column: JobColumn = None,
    min_education_column: EducationColumn = None,
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = 3,
    batch_size: Annotated[int, typer.Option(help="Windows a step and device.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="At its peak; AdamW, linear decay.")] = 5e-5,
    warmup_ratio: Annotated[float, typer.Option(help="Share of the steps to the peak.")] = 0.1,
    weight_decay: Annotated[float, typer.Option(help="Of AdamW.")] = 0.01,
    label_smoothing: Annotated[float, typer.Option(help="Spread over all labels.")] = 0.0,
    distance_weight: Annotated[
        float, typer.Option(help="Of the levels a prediction is off, for an ordered head.")
    ] = 0.0,
    class_weights: Annotated[bool, typer.Option(help="Weigh rare classes up.")] = False,
    max_length: MaxLength = None,
    layers: Annotated[
        int | None, typer.Option(help="Keep so many of the base's layers, evenly spread.")
    ] = None,
    freeze_layers: Annotated[
        int | None,
        typer.Option(help="Keep the embeddings and so many lowest layers as they are; from 0."),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="A trained checkpoint to learn from; --layers of its layers are kept."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of split, fresh heads, order and dropout.")] = 42,
    save_dtype: Annotated[str, typer.Option(help="float32 or float16.")] = "float32",
    license: Annotated[str | None, typer.Option(help="For the card.")] = None,
    note: Annotated[str | None, typer.Option(help="A paragraph for the card.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after an interrupt.")] = False,
) -> None:
    """Fine-tune a base encoder with two heads on labelled ads.

    An empty label leaves that head out for its row.

    Progress is kept in the hidden folder .NAME.training beside --out until the checkpoint is
    there.

    Several GPUs: accelerate launch -m app.cli train ...
    """
    _require_extra()
    _hush()
    with _err.status("Reading"):
        from app.data.labelled_ads import Columns
        from app.showing import show_checkpoint
        from app.training.console import Steps
        from app.training.options import TrainOptions
        from app.training.train import train as run

    options = TrainOptions(
        data=data, base=base, out=out, labels=labels, validation=validation,
        validation_share=validation_share, epochs=epochs, batch_size=batch_size,
        columns=Columns(
            text_column, title_column, job_category_column, min_education_column, group_column
        ),
        learning_rate=learning_rate, warmup_ratio=warmup_ratio, weight_decay=weight_decay,
        label_smoothing=label_smoothing, distance_weight=distance_weight,
        class_weights=class_weights, max_length=max_length,
        layers=layers, freeze_layers=freeze_layers, teacher=teacher, seed=seed,
        save_dtype=save_dtype, license=license, note=note, resume=resume,
    )  # fmt: skip
    steps = Steps(_err)
    try:
        checkpoint = run(options, [steps], _err.print)
    finally:
        steps.stop()
    if checkpoint:
        *_, metrics = show_checkpoint(checkpoint)
        _out.print(metrics)
        _out.print(f"Saved {out}, revision {checkpoint.revision}.", highlight=False)


@app.command()
def evaluate(
    folder: Folder,
    data: Data,
    out: Annotated[
        Path | None,
        typer.Option(help="The report's folder. Default: evaluation/CHECKPOINT-DATA."),
    ] = None,
    text_column: TextColumn = None,
    title_column: TitleColumn = None,
    job_category_column: JobColumn = None,
    min_education_column: EducationColumn = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_tokens: BatchTokens = None,
) -> None:
    """Score a checkpoint on labelled ads, and write a report with pictures."""
    _require_extra()
    _hush()
    with _err.status("Loading"):
        from app.data.labelled_ads import Columns
        from app.model.checkpoint import open_checkpoint
        from app.showing import show_evaluation
        from app.training.console import bar
        from app.training.evaluation.evaluate import evaluate as run
        from app.training.evaluation.evaluate import read_test
        from app.training.evaluation.report import write_report

        checkpoint = open_checkpoint(folder)
        columns = Columns(text_column, title_column, job_category_column, min_education_column)
        table = read_test(checkpoint, data, columns)
        engine, tokens = _engine(checkpoint, device, dtype, batch_tokens)
    with bar(_err) as progress:
        task = progress.add_task("Evaluating", total=len(table))
        found = run(
            checkpoint, table, engine.logits, tokens, lambda ads: progress.advance(task, ads)
        )
    report = out or Path("evaluation") / f"{checkpoint.name}-{data.stem}"
    with _err.status("Drawing"):
        page = write_report(found, report)
    _out.print(*show_evaluation(found), sep="\n")
    _out.print(f"The report is {page}.", highlight=False)


class RayCommand(TyperCommand):
    """Lets --ray stand without an address, since typer knows no option with an optional value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a bare --ray an empty value; a word behind it that is no address is another's."""
        address = re.compile(r"auto|local|(ray://)?[^/\s]+:\d+")
        following = [*args[1:], ""]
        return super().parse_args(
            ctx,
            [
                "--ray=" if word == "--ray" and not address.fullmatch(behind) else word
                for word, behind in zip(args, following, strict=True)
            ],
        )


@app.command(cls=RayCommand)
def predict(
    data: Annotated[
        str,
        typer.Option(
            help="Ads: .csv, .jsonl (or .ndjson, .json) or .parquet; with --ray also a folder of "
            "them, a pattern, or an address of an object store.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            help="The file to write; its suffix names the format. With --ray a folder, or an "
            "address, for partitions of Parquet.",
            show_default=False,
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="A checkpoint folder.", show_default=False),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Let a running server answer instead."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]",
            help="Let a Ray cluster answer: auto (the one of this machine) or HOST:PORT. Without "
            "an address: the one that RAY_ADDRESS names, or the devices of this machine.",
        ),
    ] = None,
    partition_rows: Annotated[
        int, typer.Option(help="Rows of a partition, with --ray; a multiple of 512.")
    ] = 4096,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace --out where it is there already.")
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

    The model is loaded from DIR, or a server is asked: --server http://localhost:8000, with the key
    of the variable DOPPELKOPF_API_KEY. Its single ads go before these.

    Interrupted, the same command goes on where it ended; answers are kept in the hidden file
    .NAME.answers beside --out until it is complete.

    With --ray every device of a cluster gets an engine that loads DIR, which all machines have
    under this path as they have --data and --out. Answers are those of one machine of their kind.
    """
    _require_extra() if ray is None else _require_extra([*EXTRA, "ray"], "ray,train")
    _hush()
    if (folder is None) == (server is None):
        raise StartupError("Name a checkpoint folder, or a server with --server.")
    from app.data.labelled_ads import Columns

    columns = Columns(text_column, title_column)
    options = (device, dtype, batch_tokens)
    if ray is not None:
        if folder is None:
            raise StartupError("With --ray name a checkpoint folder, not a server.")
        rows, errors = _backfill(
            ray, data, out, folder, columns, format, options, partition_rows, overwrite=overwrite
        )
    else:
        rows, errors = _predict(
            Path(data), Path(out), folder, server, columns, format, options, overwrite=overwrite
        )
    told = f", {errors} of them with an error" if errors else ""
    # In one line, however long the path is: it is read by programs too.
    _out.print(f"Wrote {rows} rows to {out}{told}.", highlight=False, soft_wrap=True)


_Options = tuple[str, str, int | None]
"""Device, dtype and tokens of a batch."""


def _predict(
    data: Path, out: Path, folder: Path | None, server: str | None, columns: "Columns",
    format: TextFormat, options: _Options, *, overwrite: bool,
) -> tuple[int, int]:  # fmt: skip
    """Return how many rows were written, and how many of them with an error."""
    with ExitStack() as opened:
        with _err.status("Loading"):
            from app.bulk.journal import Journal
            from app.bulk.predict import check, check_out, journal_of
            from app.bulk.predict import predict as run
            from app.data.labelled_ads import sha256
            from app.training.console import bar

            check_out(out, data, overwrite=overwrite)
            checked = check(data, columns)
            about = {"input": sha256(data), **_about(columns, format, options)}
            if folder is not None:
                answer, revision = _predictor(folder, *options)
            else:
                answer, revision = _sender(opened, str(server))
            about["checkpoint revision"] = revision
        journal = opened.enter_context(Journal(journal_of(out), about, out))
        progress = opened.enter_context(bar(_err))
        task = progress.add_task("Predicting", total=checked.rows)
        errors = run(
            checked, columns, format.value, out, journal, answer,
            lambda rows: progress.advance(task, rows),
        )  # fmt: skip
    return checked.rows, errors


def _about(columns: "Columns", format: TextFormat, options: _Options) -> dict[str, str]:
    """Return what answers depend on, beside the ads and the checkpoint."""
    return {
        "choice of columns": repr(columns),
        "format": format.value,
        "device, dtype or batch size": " ".join(map(str, options)),
    }


def _backfill(
    address: str, data: str, out: str, folder: Path, columns: "Columns", format: TextFormat,
    options: _Options, partition_rows: int, *, overwrite: bool,
) -> tuple[int, int]:  # fmt: skip
    """Return how many rows a cluster wrote, and how many of them with an error."""
    with ExitStack() as opened:
        with _err.status("Reading"):
            from app.bulk.backfill import Engines, backfill, check_rows, read_through
            from app.bulk.input_scan import fingerprint
            from app.bulk.output_partitions import Partitions
            from app.bulk.ray_pool import Pool, connected
            from app.bulk.storage import Place
            from app.model.checkpoint import open_checkpoint
            from app.training.console import bar

            check_rows(partition_rows)
            device, dtype, batch_tokens = options
            revision = open_checkpoint(folder).revision
            source, target = Place.of(data), Partitions(Place.of(out))
            target.check(overwrite=overwrite)
            opened.enter_context(connected(address))
            pool = Pool.of_cluster(device)
            read = read_through(source, columns, partition_rows)
            about = {
                "input": fingerprint(read.files),
                **_about(columns, format, (pool.device, dtype, batch_tokens)),
                "checkpoint revision": revision,
                "number of rows a partition": str(partition_rows),
            }
            target.begin(about)
        engines = Engines(folder.absolute(), revision, pool.device, dtype, batch_tokens)
        progress = opened.enter_context(bar(_err))
        task = progress.add_task("Predicting", total=read.rows)
        count = backfill(
            read, engines, pool, format.value, target, lambda rows: progress.advance(task, rows)
        )
    return count.rows, count.errors


def _predictor(
    folder: Path, device: str, dtype: str, batch_tokens: int | None
) -> "tuple[Answering, str]":
    from app.bulk.predict import Predictor
    from app.model.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(folder)
    predictor = Predictor.of(checkpoint, device, dtype, batch_tokens)
    return predictor.answer, checkpoint.revision


def _sender(opened: ExitStack, url: str) -> "tuple[Answering, str]":
    from app.bulk.server_predictor import sending

    key = os.environ.get(f"{PREFIX}{CLIENT_KEY.upper()}")
    sender = opened.enter_context(sending(url, key))
    return sender.answer, sender.model.revision


@app.command()
def demo(
    shared: Annotated[
        Path,
        typer.Option(help="Folder with base-encoder/, data/ and taxonomy/.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="The checkpoint folder to make.", show_default=False)],
    work: Annotated[Path, typer.Option(help="Keeps what is made on the way.")] = Path(
        ".cache/demo"
    ),
    trained: Annotated[
        Path | None, typer.Option(help="Measure this checkpoint instead of training one.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the checkpoint --out.")
    ] = False,
    baselines: Annotated[bool, typer.Option(help="Measure the simple contenders too.")] = True,
) -> None:
    """Make the demo checkpoint from occupation data, and measure it on hand-labelled ads."""
    _require_extra()
    _hush()
    with _err.status("Reading"):
        from app.showing import show_contenders
        from app.training.console import Steps
        from app.training.demo.recipe import make_demo

    steps = Steps(_err)
    try:
        checkpoint = make_demo(
            shared, out, work, lambda made: _engine(made, "auto", "auto", None)[0].logits,
            _err.print, trained=trained, overwrite=overwrite, with_baselines=baselines,
            callbacks=[steps],
        )  # fmt: skip
    finally:
        steps.stop()
    _out.print(*show_contenders(checkpoint), sep="\n")
    _out.print(f"Saved {out}, revision {checkpoint.revision}.", highlight=False)


@app.command()
def bench(
    ads: Annotated[
        Path,
        typer.Option(
            help="Ads with a text and perhaps a title: .csv, .jsonl or .parquet; 5000 are used.",
            show_default=False,
        ),
    ],
    url: Annotated[
        str | None, typer.Argument(metavar="URL", help="A running service.", show_default=False)
    ] = None,
    engine: Annotated[
        Path | None, typer.Option(help="Measure the engine alone on this checkpoint folder.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.01, help="Requests a second that come at random.")
    ] = None,
    connections: Annotated[
        int, typer.Option(min=0, max=4000, help="Clients that wait for their answers.")
    ] = 0,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Find the knee, from --rate on (default: 5).")
    ] = False,
    p99: Annotated[float, typer.Option(min=0, help="The knee's bound, in milliseconds.")] = 1000,
    duration: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds measured; of a sweep, each step's.")
    ] = 10,
    warm_up: Annotated[float, typer.Option(min=0, max=600, help="Seconds before that.")] = 2,
    patience: Annotated[
        float, typer.Option(min=0, max=600, help="Seconds to wait for answers at the end.")
    ] = 30,
    batch: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Ads a request, to /classify/batch.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes that send.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the arrivals and of the ads' order.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the figures.")] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG for a picture of the load.")] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Load a running service and measure it; with --engine, the engine alone.

    --rate makes an open loop, --connections a closed one, --sweep finds the highest rate that the
    service keeps up with. Nothing but URL is contacted; its API key is taken from the variable
    DOPPELKOPF_API_KEY. Ctrl-C prints what was measured so far.
    """
    if ads.suffix.lower() in (".csv", ".parquet"):
        _require_extra(["pandas", "pyarrow"])
    for out in (json_file, plot):
        # Told before minutes of load, not after them.
        if out is not None and not out.absolute().parent.is_dir():
            raise StartupError(f"There is no folder {out.parent} to write {out.name} to.")
    from app.bench.ads import read_ads

    if engine is not None and url is None:
        _bench_engine(engine, read_ads(ads), duration, device, dtype, json_file)
        return
    if url is None or engine is not None:
        raise StartupError("Name the address of a service, or a checkpoint folder by --engine.")
    if plot is not None:
        _require_extra(["matplotlib"])
    from app.bench.load_generator import Plan
    from app.bench.report import load_document, show_load, show_steps, write_json
    from app.bench.runs import check, most_rate, run_once, run_sweep
    from app.bench.sender_processes import Workers
    from app.bench.target import Target
    from app.serving.server.sockets import allow_many_connections

    target = Target(url, os.environ.get("DOPPELKOPF_API_KEY"))
    plan = Plan(
        url, target.requests(read_ads(ads), batch, seed), rate, connections, warm_up, duration,
        patience, seed,
    )  # fmt: skip
    check(plan, processes, sweeping=sweep)
    target.try_once(plan.requests[0])
    allow_many_connections()
    with _err.status("Measuring"), Workers(processes) as workers:
        if sweep:
            steps = run_sweep(plan, workers, most_rate(plan, processes), p99)
        else:
            steps = [run_once(plan, workers)]
    _out.print(*(show_steps(steps, p99) if sweep else show_load(steps[0])), sep="\n")
    document = load_document(steps, url, p99 if sweep else None)
    if json_file is not None:
        write_json(document, json_file)
    if plot is not None:
        from app.bench.plot import plot_loads

        plot_loads(steps, plot, document.get("knee"))
    if workers.interrupt.wanted():
        raise KeyboardInterrupt


def _bench_engine(
    folder: Path, ads: "Sequence[Ad]", seconds: float, device: str, dtype: str, out: Path | None
) -> None:
    _hush()
    with _err.status("Loading"):
        import torch

        from app.bench.engine_bench import EngineReport, Shape, matmul, measure, ways_to_run
        from app.bench.interrupt import Interrupt
        from app.bench.report import engine_document, show_engine, write_json
        from app.engine.devices import DTYPES
        from app.engine.engine import load_model
        from app.model.checkpoint import open_checkpoint

        checkpoint = open_checkpoint(folder)
        engine, _ = _engine(checkpoint, device, dtype, None)
        kind = DTYPES[engine.dtype]
        exact = _engine(checkpoint, device, "float32", None)[0] if engine.dtype == "int8" else None
        padded = load_model(checkpoint, engine.dtype, "sdpa").to(engine.device)
        encoded = checkpoint.tokenizer().encode(ads)
        shape = Shape.of(checkpoint.config.encoder)
    report = EngineReport(shape, str(engine.device), engine.dtype, torch.get_num_threads())
    with _err.status("Measuring"), Interrupt() as interrupt:
        measure(
            report, encoded, ways_to_run(engine.run, padded, shape, exact.run if exact else None),
            matmul(shape, engine.device, kind), seconds, interrupt.wanted,
        )  # fmt: skip
    _out.print(*show_engine(report), sep="\n")
    if out is not None:
        write_json(engine_document(report), out)
    if interrupt.wanted():
        raise KeyboardInterrupt


@checkpoints.command()
def show(folder: Folder) -> None:
    """Print a checkpoint's heads, labels, sizes, revision and metrics."""
    _hush()
    from app.model.checkpoint import open_checkpoint
    from app.showing import show_checkpoint

    _out.print(*show_checkpoint(open_checkpoint(folder)), sep="\n")


@checkpoints.command("list")
def list_(
    store: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="A folder of checkpoints.")
    ] = MODEL_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the checkpoints of a folder, damaged ones with what is wrong; verifies each."""
    _hush()
    from app.listing import as_document, list_checkpoints, show_list

    found = list_checkpoints(store)
    if as_json:
        typer.echo(as_document(found))
    else:
        _out.print(*show_list(store, found), sep="\n")


@checkpoints.command("average")
def average_(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Trained from one base and one --seed.")
    ],
    out: Annotated[Path, typer.Option(help="The checkpoint folder to make.", show_default=False)],
) -> None:
    """Average the weights of checkpoints; often steadier on new texts than each of them.

    Its temperatures are 1: `doppelkopf evaluate` tells how well that fits.
    """
    _hush()
    with _err.status("Averaging"):
        from app.training.weight_averaging import save_average

        checkpoint = save_average(folders, out)
    _out.print(f"Saved {out}, revision {checkpoint.revision}.", highlight=False)


@checkpoints.command("import")
def import_(
    state_dict: Annotated[
        Path, typer.Argument(help="Weights: .safetensors, or a .bin or .pt read with weights only.")
    ],
    base: Base,
    labels: Annotated[
        Path, typer.Option(help="JSON with both heads' labels, in logit order.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="The checkpoint folder to make.", show_default=False)],
    encoder_prefix: Annotated[str, typer.Option(help="Of the encoder's tensors.")] = "bert.",
    job_category_prefix: Annotated[
        str, typer.Option(help="Of the job category head's tensors.")
    ] = "classifier_job_type.",
    min_education_prefix: Annotated[
        str, typer.Option(help="Of the minimum education head's tensors.")
    ] = "classifier_edu_level.",
    max_length: MaxLength = None,
) -> None:
    """Make a checkpoint of a state dict that was trained elsewhere."""
    _hush()
    with _err.status("Importing"):
        from app.model.state_dict_import import Prefixes, import_checkpoint

        prefixes = Prefixes(encoder_prefix, job_category_prefix, min_education_prefix)
        checkpoint = import_checkpoint(state_dict, base, labels, out, prefixes, max_length)
    _out.print(f"Saved {out}, revision {checkpoint.revision}.", highlight=False)


def _settings_as_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for every setting, checked where the environment is checked."""
    options = {
        name: Annotated[
            str | None,
            typer.Option(
                f"--{name.replace('_', '-')}",
                metavar=name.rsplit("_", 1)[-1].upper(),
                help=f"{field.description} (default: {_shown(field.default)})",
                show_default=False,
            ),
        ]
        for name, field in Settings.model_fields.items()
    }
    keyword = inspect.Parameter.KEYWORD_ONLY
    # typer reads both: the signature for the names, the annotations for the types.
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, keyword, default=None, annotation=kind)
         for name, kind in options.items()]
    )  # fmt: skip
    command.__annotations__ = {**options, "return": None}
    return command


def _shown(default: Any) -> str:
    return "none" if default == () else str(default)


@app.command()
@_settings_as_options
def serve(**options: str | None) -> None:
    """Serve a checkpoint over HTTP.

    Each option is an environment variable too: --max-windows is DOPPELKOPF_MAX_WINDOWS.
    """
    given = {name: value for name, value in options.items() if value is not None}
    settings = load_settings(given)
    if (name := f"{PREFIX}{CLIENT_KEY.upper()}") in os.environ and not settings.api_keys:
        # Whoever took it for the server's would have an open one.
        _tell(f"{name} is what clients send; this server asks for no key without {PREFIX}API_KEYS.")
    from app.serving.process import frozen_gc

    with frozen_gc():
        if settings.workers == 1:
            from app.serving.server.single_process import serve as run
        else:
            from app.serving.workers.supervisor import supervise as run
    raise typer.Exit(run(settings))


def _engine(
    checkpoint: "Checkpoint", device: str, dtype: str, batch_tokens: int | None
) -> tuple["Engine", int]:
    """Load the packed engine, see that it answers with numbers, and size its batches."""
    from app.core.types import Ad
    from app.engine.engine import Engine

    engine = Engine(checkpoint, device, dtype)
    engine.warm_up(checkpoint.tokenizer().encode([Ad("a")]))
    return engine, batch_tokens or engine.batch_tokens


def _require_extra(modules: Sequence[str] = EXTRA, extra: str = "train") -> None:
    for module in modules:
        if find_spec(module) is None:
            raise StartupError(
                f"This command needs {module}, which is not installed: "
                f'pip install "doppelkopf[{extra}]".'
            )


def _hush() -> None:
    """Keep the libraries' bars, reports and retries off the terminal: the errors tell enough."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def _tell(sentence: str) -> None:
    if _FIRST:
        sys.stderr.write(sentence + "\n")


def main() -> None:
    """Run the command line; the entry point of `doppelkopf`."""
    app()


if __name__ == "__main__":
    main()
