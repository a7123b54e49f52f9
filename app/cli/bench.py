"""The command `doppelkopf bench`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.console import require_extra, silence_libraries, stderr, stdout
from app.cli.engines import load_engine
from app.cli.options import Device, Dtype
from app.core.errors import StartupError
from app.serving.settings import CLIENT_KEY, PREFIX

if TYPE_CHECKING:
    from app.core.types import Ad


def bench(
    ads: Annotated[
        Path,
        typer.Option(
            help="Ads with a text and perhaps a title: .csv, .jsonl or .parquet; the first 5000 "
            "are used."
        ),
    ],
    url: Annotated[str | None, typer.Argument(metavar="URL", help="A running service.")] = None,
    engine: Annotated[
        Path | None, typer.Option(help="Measure the engine alone on this checkpoint folder.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.01, help="Open loop: requests per second, at random times."),
    ] = None,
    connections: Annotated[
        int,
        typer.Option(
            min=0,
            max=4000,
            help="Closed loop: clients that each send their next request after an answer.",
        ),
    ] = 0,
    sweep: Annotated[
        bool,
        typer.Option("--sweep", help="Find the knee, starting at --rate (default: 5)."),
    ] = False,
    p99: Annotated[
        float, typer.Option(min=0, help="Bound on the 99th percentile at the knee, milliseconds.")
    ] = 1000,
    duration: Annotated[
        float,
        typer.Option(min=0.1, max=3600, help="Seconds to measure; with --sweep, of each step."),
    ] = 10,
    warm_up: Annotated[
        float, typer.Option(min=0, max=600, help="Seconds of load before measuring.")
    ] = 2,
    patience: Annotated[
        float, typer.Option(min=0, max=600, help="Seconds to wait for answers at the end.")
    ] = 30,
    batch: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Ads per request; sends to /classify/batch."),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that send requests.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the arrivals and the ads' order.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the figures.")] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG file for a picture of the load.")] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Load a running service and measure it; with --engine, measure the engine alone.

    --rate makes an open loop, --connections a closed one, --sweep finds the highest rate that the
    service keeps up with. Nothing but URL is contacted; its API key is taken from the variable
    DOPPELKOPF_API_KEY. Ctrl-C prints what was measured so far.
    """
    if ads.suffix.lower() in (".csv", ".parquet"):
        require_extra(["pandas", "pyarrow"])
    for out in (json_file, plot):
        # Checked before minutes of load, not after them.
        if out is not None and not out.absolute().parent.is_dir():
            raise StartupError(f"There is no folder {out.parent} to write {out.name} to.")
    from app.data.labelled_ads import read_first_ads

    if engine is not None and url is None:
        _bench_engine(engine, read_first_ads(ads), duration, device, dtype, json_file)
        return
    if url is None or engine is not None:
        raise StartupError("Name the address of a service, or a checkpoint folder by --engine.")
    if plot is not None:
        require_extra(["matplotlib"])
    from app.bench.load_generator import LoadPlan
    from app.bench.report import load_document, show_load, show_steps, write_json
    from app.bench.sender_processes import SenderPool
    from app.bench.sweep import check_plan, highest_rate, run_once, run_sweep
    from app.bench.target import LoadTarget
    from app.serving.server.sockets import allow_many_connections

    target = LoadTarget(url, os.environ.get(f"{PREFIX}{CLIENT_KEY.upper()}"))
    plan = LoadPlan(
        url, target.requests(read_first_ads(ads), batch, seed), rate, connections, warm_up,
        duration, patience, seed,
    )  # fmt: skip
    check_plan(plan, processes, sweeping=sweep)
    target.try_once(plan.requests[0])
    allow_many_connections()
    with stderr.status("Measuring"), SenderPool(processes) as workers:
        if sweep:
            steps = run_sweep(plan, workers, highest_rate(plan, processes), p99)
        else:
            steps = [run_once(plan, workers)]
    stdout.print(*(show_steps(steps, p99) if sweep else show_load(steps[0])), sep="\n")
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
    """Measure the variants of one engine's pass, print a table, and write `out` if it is given."""
    silence_libraries()
    with stderr.status("Loading"):
        import torch

        from app.bench.engine_bench import (
            EncoderShape,
            EngineReport,
            make_variants,
            matmul,
            measure_variants,
        )
        from app.bench.interrupt import Interrupt
        from app.bench.report import engine_document, show_engine, write_json
        from app.engine.devices import DTYPES
        from app.engine.engine import load_model
        from app.model.checkpoint import open_checkpoint

        checkpoint = open_checkpoint(folder)
        engine, _ = load_engine(checkpoint, device, dtype)
        kind = DTYPES[engine.dtype]
        exact = load_engine(checkpoint, device, "float32")[0] if engine.dtype == "int8" else None
        padded = load_model(checkpoint, engine.dtype, "sdpa").to(engine.device)
        encoded = checkpoint.tokenizer().encode(ads)
        shape = EncoderShape.of(checkpoint.config.encoder)
    report = EngineReport(shape, str(engine.device), engine.dtype, torch.get_num_threads())
    with stderr.status("Measuring"), Interrupt() as interrupt:
        measure_variants(
            report, encoded, make_variants(engine.run, padded, shape, exact.run if exact else None),
            matmul(shape, engine.device, kind), seconds, interrupt.wanted,
        )  # fmt: skip
    stdout.print(*show_engine(report), sep="\n")
    if out is not None:
        write_json(engine_document(report), out)
    if interrupt.wanted():
        raise KeyboardInterrupt
