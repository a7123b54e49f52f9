"""The run folder: the hidden folder that keeps an unfinished training, so that it can resume."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from transformers.trainer_utils import get_last_checkpoint

from app.core.errors import CheckpointError
from app.data.labelled_ads import sha256
from app.model.checkpoint_verification import WEIGHTS
from app.training.options import TrainOptions

Notify = Callable[[str], None]
"""Receives one-line progress messages for the user."""

FINGERPRINT = "run.json"
"""The file of a run folder that keeps what `run_fingerprint` returned when the training began."""


def run_folder(out: Path) -> Path:
    """Return the run folder of the checkpoint `out`: `.NAME.training` in the same folder."""
    # A path such as `.` has no name until it is resolved.
    named = out if out.name else out.resolve()
    return named.with_name(f".{named.name}.training")


def check_run_folder(options: TrainOptions, fingerprint: Mapping[str, str], notify: Notify) -> None:
    """Check that a training can start, or with `--resume` that it can continue.

    Raises:
        CheckpointError: there is an interrupted training but no `--resume`, or it has another
            fingerprint.
    """
    folder = run_folder(options.out)
    if not options.resume:
        if last_trainer_state(folder):
            raise CheckpointError(
                f"{folder} holds an interrupted training: run the command again with --resume, "
                "or remove that folder."
            )
        return
    if not last_trainer_state(folder):
        notify("There is no interrupted training to resume; starting a new one.")
    elif json.loads((folder / FINGERPRINT).read_text(encoding="utf-8")) != fingerprint:
        raise CheckpointError(
            f"The interrupted training in {folder} was started with other options or data: "
            "repeat its command, or remove that folder."
        )
    else:
        notify("Resuming the interrupted training.")


def create_run_folder(options: TrainOptions, fingerprint: Mapping[str, str]) -> Path:
    """Create the run folder with its fingerprint, unless the training resumes."""
    folder = run_folder(options.out)
    # The processes of a distributed run share the folder, so only the first one writes.
    if os.environ.get("RANK", "0") == "0" and not last_trainer_state(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FINGERPRINT).write_text(
            json.dumps(fingerprint, ensure_ascii=False), encoding="utf-8"
        )
    return folder


def run_fingerprint(options: TrainOptions, max_length: int) -> dict[str, str]:
    """Return the command and its files' hashes, which have to be the same to resume a training."""
    files = [options.data, *(path for path in (options.validation, options.labels) if path)]
    if options.teacher:
        files.append(options.teacher / WEIGHTS)
    return {"command": options.command(max_length)} | {
        str(path): sha256(path) for path in files if path.is_file()
    }


def last_trainer_state(folder: Path) -> str | None:
    """Return the path of the last state that the Trainer saved in a run folder, or None."""
    return get_last_checkpoint(str(folder)) if folder.is_dir() else None
