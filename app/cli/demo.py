"""The command `doppelkopf demo`."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.console import require_extra, silence_libraries, stderr, stdout
from app.cli.engines import load_engine
from app.cli.options import NewCheckpoint


def demo(
    shared: Annotated[Path, typer.Option(help="Folder with base-encoder/, data/ and taxonomy/.")],
    out: NewCheckpoint,
    work: Annotated[
        Path,
        typer.Option(help="Folder for intermediate files; a second run reuses the base in it."),
    ] = Path(".cache/demo"),
    trained: Annotated[
        Path | None, typer.Option(help="Measure this checkpoint instead of training one.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the checkpoint --out.")
    ] = False,
    baselines: Annotated[bool, typer.Option(help="Measure simple baselines too.")] = True,
) -> None:
    """Make the demo checkpoint from occupation data, and measure it on hand-labelled ads."""
    require_extra()
    silence_libraries()
    with stderr.status("Reading"):
        from app.cli.progress import TrainingProgress
        from app.cli.tables import comparison_tables
        from app.training.demo.recipe import make_demo

    progress = TrainingProgress(stderr)
    try:
        checkpoint = make_demo(
            shared, out, work, lambda made: load_engine(made, "auto", "auto")[0].logits,
            stderr.print, trained=trained, overwrite=overwrite, with_baselines=baselines,
            callbacks=[progress],
        )  # fmt: skip
    finally:
        progress.stop()
    stdout.print(*comparison_tables(checkpoint), sep="\n")
    stdout.print(f"Saved {out}, revision {checkpoint.revision}.", highlight=False)
