"""The command `doppelkopf train`."""

import inspect
from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

from app.cli.console import require_extra, silence_libraries, stderr, stdout
from app.cli.options import TRAIN_HELP, option, with_options
from app.training.options import TrainOptions


def _options() -> Iterator[inspect.Parameter]:
    kinds = get_type_hints(TrainOptions)
    for field in fields(TrainOptions):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        # Without a name of its own typer would add --no-resume.
        flags = ["--resume"] if field.name == "resume" else []
        yield option(field.name, kinds[field.name], default, *flags, help=TRAIN_HELP[field.name])


@with_options(_options())
def train(**options: Any) -> None:
    """Fine-tune a base encoder with two heads on labelled ads.

    A row without a label for a head does not train that head.

    Progress is kept in the hidden folder .NAME.training next to --out until the checkpoint is
    complete.

    Several GPUs: accelerate launch -m app.cli train ...
    """
    require_extra()
    silence_libraries()
    with stderr.status("Reading"):
        from app.cli.progress import TrainingProgress
        from app.cli.tables import checkpoint_tables
        from app.training.train import train as run

    progress = TrainingProgress(stderr)
    try:
        checkpoint = run(TrainOptions(**options), [progress], stderr.print)
    finally:
        progress.stop()
    if checkpoint:
        *_, metrics = checkpoint_tables(checkpoint)
        stdout.print(metrics)
        stdout.print(f"Saved {options['out']}, revision {checkpoint.revision}.", highlight=False)
