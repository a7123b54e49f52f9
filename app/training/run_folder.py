"""The work folder: what a training in progress keeps beside the checkpoint-to-be."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from transformers.trainer_utils import get_last_checkpoint

from app.core.errors import CheckpointError
from app.data.labelled_ads import sha256
from app.model.checkpoint_verification import WEIGHTS
from app.training.options import TrainOptions

Say = Callable[[str], None]

RUN = "run.json"
"""In the work folder: the command and the hashes of its files."""


def work_folder(out: Path) -> Path:
    """Return the hidden folder beside a checkpoint-to-be that keeps the training so far."""
    # A folder given as `.` has no name to put anything beside.
    whole = out if out.name else out.resolve()
    return whole.with_name(f".{whole.name}.training")


def check_work(options: TrainOptions, run: Mapping[str, str], say: Say) -> None:
    """Let a training begin, or go on as it was begun."""
    work = work_folder(options.out)
    if not options.resume:
        if last_saved(work):
            raise CheckpointError(
                f"An interrupted training lies in {work}: run it again with --resume, "
                "or remove that folder."
            )
        return
    if not last_saved(work):
        say("There is no interrupted training to resume; this one begins anew.")
    elif json.loads((work / RUN).read_text(encoding="utf-8")) != run:
        raise CheckpointError(
            f"The interrupted training in {work} was begun with other options or data: "
            "repeat its command, or remove that folder."
        )
    else:
        say("Resuming the interrupted training.")


def open_work(options: TrainOptions, run: Mapping[str, str]) -> Path:
    """Make the work folder and note down what is trained in it."""
    work = work_folder(options.out)
    # The processes of a distributed run share the folder; the first of them writes.
    if os.environ.get("RANK", "0") == "0" and not last_saved(work):
        work.mkdir(parents=True, exist_ok=True)
        (work / RUN).write_text(json.dumps(run, ensure_ascii=False), encoding="utf-8")
    return work


def identity(options: TrainOptions, max_length: int) -> dict[str, str]:
    """Return what two runs have to have in common for one to go on where the other stopped."""
    files = [options.data, *(path for path in (options.validation, options.labels) if path)]
    if options.teacher:
        files.append(options.teacher / WEIGHTS)
    return {"command": options.command(max_length)} | {
        str(path): sha256(path) for path in files if path.is_file()
    }


def last_saved(work: Path) -> str | None:
    """Return the latest state that the Trainer saved in a work folder, or None."""
    return get_last_checkpoint(str(work)) if work.is_dir() else None
