"""Makes the demo checkpoint: from occupation data to a checkpoint that is compared with baselines.

Ads are generated from occupation titles, the base encoder is fine-tuned on them as the teacher of a
student with half its layers, the student's temperatures are fitted on hand-labelled ads, and it is
compared with baselines on these ads.
"""

import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from app.core.errors import CheckpointError, DataError
from app.core.head_labels import Head
from app.core.postprocessing import WindowLogits
from app.data.labelled_ads import sha256
from app.data.token_batches import PackedPass
from app.model.checkpoint import Checkpoint, open_checkpoint, require_empty_target, save_checkpoint
from app.model.checkpoint_verification import CARD, TOKENIZER, TOKENIZER_CONFIG
from app.training.demo.benchmark import measure_baselines, measure_checkpoint
from app.training.demo.comparison_tables import KEY, comparison_metrics, extend_card
from app.training.demo.hand_labelled import read_hand_labelled
from app.training.demo.job_families import FamilyReader, read_families
from app.training.demo.training_data import write_training_data
from app.training.options import TrainOptions
from app.training.run_folder import Notify, last_trainer_state, run_folder
from app.training.train import train

EngineFactory = Callable[[Checkpoint], PackedPass[WindowLogits]]
"""Returns the packed pass of a checkpoint that gives raw logits.

It is an argument because `app.training` must not import `app.engine`.
"""

DATA_SEED, ROWS = 7, 30_000
TEACHER_OPTIONS = TrainOptions(
    data=Path("train.csv"), base="base-encoder", out=Path("teacher"), epochs=1, batch_size=16,
    learning_rate=1.5e-4, label_smoothing=0.05, max_length=512, freeze_layers=6, seed=7,
)  # fmt: skip
"""The teacher has all layers of the base; the upper half of them is trained.

The paths are replaced.
"""

STUDENT_OPTIONS = TrainOptions(
    data=Path("train.csv"), base="base-encoder", out=Path("demo"), epochs=1, batch_size=16,
    learning_rate=2e-4, label_smoothing=0.05, max_length=512, layers=6, freeze_layers=0,
    teacher=Path("teacher"), seed=7, save_dtype="float16",
    license="MIT, as the encoder it was trained from",
    note=(
        "Trained on generated German and Swiss job ads: occupation titles and task descriptions "
        "of the Bundesagentur für Arbeit (KldB 2010, systematic and alphabetical index) and of "
        "ESCO 1.2 (European Commission, CC BY 4.0), composed with the project's own templates by "
        f"app.training.demo --seed {DATA_SEED} --rows {ROWS}. No real ad was trained on. The "
        "encoder is every second layer of intfloat/multilingual-e5-small (MIT), its vocabulary "
        "cut to German and English, taught by all twelve."
    ),
)  # fmt: skip
"""The options of the student, which becomes the demo checkpoint; the paths are replaced."""


def student_options(*, gpu: bool) -> TrainOptions:
    """Return the student's options: two epochs on a GPU, one on a CPU, where each takes hours."""
    return replace(STUDENT_OPTIONS, epochs=2 if gpu else 1)


def make_demo(
    shared: Path,
    out: Path,
    work: Path,
    engine_factory: EngineFactory,
    notify: Notify = lambda _: None,
    *,
    trained: Path | None = None,
    overwrite: bool = False,
    with_baselines: bool = True,
    rows: int = ROWS,
    teacher: TrainOptions = TEACHER_OPTIONS,
    student: TrainOptions | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    read_families: FamilyReader = read_families,
) -> Checkpoint:
    """Make the demo checkpoint and compare it with baselines.

    Args:
        shared: folder with the base encoder, the occupation data, the taxonomy and the ads.
        out: the checkpoint folder to make.
        work: folder for intermediate files; a later run reuses the unpacked base encoder.
        engine_factory: see `EngineFactory`.
        notify: receives one-line messages for the user.
        trained: a trained checkpoint to measure, instead of training one.
        overwrite: replace the checkpoint `out` if there is one.
        with_baselines: measure the baselines too.
        rows: how many ads to generate.
        teacher: options of the teacher's training; the paths are replaced.
        student: options of the student's training, likewise; default: `student_options`.
        callbacks: for the Trainer, for example to show progress.
        read_families: reads the job families.

    Returns:
        The saved checkpoint.

    Raises:
        StartupError: a file is missing or wrong; the message is one sentence.
        KeyboardInterrupt: a training was interrupted; the message says how to continue.
    """
    _check_out(out, overwrite=overwrite)
    student = student or student_options(gpu=torch.cuda.is_available())
    base = unpack_base(shared, work)
    data = work / "data"
    notify("Generating the training ads.")
    count, _ = write_training_data(
        shared, data, seed=DATA_SEED, rows=rows, read_families=read_families
    )
    notify(f"{count:,} training ads are in {data}.")
    trained_here = work / "trained" / out.resolve().name
    if trained is None:
        checkpoint = _train_both(data, base, trained_here, teacher, student, notify, callbacks)
    else:
        checkpoint = open_checkpoint(trained)
    ads = read_hand_labelled(shared, checkpoint.heads)
    notify(f"Measuring on {len(ads)} hand-labelled ads.")
    measured = measure_checkpoint(checkpoint, ads, engine_factory(checkpoint))
    baselines = (
        measure_baselines(shared, data, base, measured.heads, ads, notify, read_families)
        if with_baselines
        else ()
    )
    comparison = comparison_metrics(ads, measured.heads, [*baselines, measured.contender])
    comparison |= {
        "checkpoint": measured.contender.name,
        "temperatures": {name: head.temperature for name, head in measured.heads.items()},
        "ece_apart": measured.ece_unseen_source,
        "same_rows": _has_same_rows(checkpoint.path, data),
    }
    if not comparison["same_rows"]:
        notify("The checkpoint was trained on other rows than the baselines.")
    saved = _save_calibrated(out, checkpoint, measured.heads, comparison)
    if trained is None:
        for folder in (trained_here, _teacher_folder(trained_here)):
            shutil.rmtree(folder)
    return saved


def unpack_base(shared: Path, work: Path) -> Path:
    """Unpack the base encoder into the work folder, unless an earlier run has unpacked it.

    Returns:
        The folder of the base encoder.

    Raises:
        DataError: the archive is missing or damaged.
    """
    folder = work / "base-encoder"
    if folder.is_dir():
        return folder
    archive = shared / "base-encoder" / "base-encoder.tar.xz"
    partial = work / ".base-encoder.partial"
    work.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(partial, filter="data")
    except FileNotFoundError as error:
        raise DataError.at(archive, "the file does not exist.") from error
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError.at(archive, f"cannot be unpacked: {error}.") from error
    # Renamed when complete, so that an interrupted call leaves no incomplete folder.
    partial.rename(folder)
    return folder


def _check_out(out: Path, *, overwrite: bool) -> None:
    """Check that `out` does not exist or, with `overwrite`, that it is a checkpoint."""
    try:
        require_empty_target(out)
    except CheckpointError as error:
        if not overwrite:
            raise CheckpointError(f"{out} exists already; replace it with --overwrite.") from error
        open_checkpoint(out)


def _has_same_rows(checkpoint: Path, data: Path) -> bool:
    """Return whether a checkpoint was trained on the rows in `data`, by the hash in its card."""
    return sha256(data / "train.csv") in (checkpoint / CARD).read_text(encoding="utf-8")


def _train_both(
    data: Path,
    base: Path,
    out: Path,
    teacher: TrainOptions,
    student: TrainOptions,
    notify: Notify,
    callbacks: Sequence[TrainerCallback],
) -> Checkpoint:
    """Train the teacher, unless an earlier run finished it, and then its student at `out`."""
    if out.exists():
        raise CheckpointError(
            f"{out} is left from an earlier run: continue with --trained {out}, or remove it."
        )

    def train_at(
        folder: Path, options: TrainOptions, teacher_folder: Path | None = None
    ) -> Checkpoint:
        complete = replace(
            options, data=data / "train.csv", base=str(base), out=folder,
            labels=data / "labels.json", validation=data / "validation.csv", teacher=teacher_folder,
            resume=last_trainer_state(run_folder(folder)) is not None,
        )  # fmt: skip
        try:
            checkpoint = train(complete, callbacks, notify)
        except KeyboardInterrupt:
            # The message of `train` names --resume, which this command does not have or need.
            raise KeyboardInterrupt("Interrupted; run the same command to continue.") from None
        if checkpoint is None:
            raise CheckpointError("The recipe runs in one process, not under accelerate launch.")
        return checkpoint

    teacher_folder = _teacher_folder(out)
    if not teacher_folder.exists():
        notify("Training the teacher.")
        train_at(teacher_folder, teacher)
    elif not _has_same_rows(teacher_folder, data):
        raise CheckpointError(f"{teacher_folder} is left from a run on other rows: remove it.")
    notify("Training the student.")
    return train_at(out, student, teacher_folder)


def _teacher_folder(student_folder: Path) -> Path:
    return student_folder.with_name(f"{student_folder.name}-teacher")


def _save_calibrated(
    out: Path, checkpoint: Checkpoint, heads: Mapping[str, Head], comparison: dict[str, Any]
) -> Checkpoint:
    """Save a copy of the checkpoint with the new temperatures, card and metrics; same weights."""
    model = checkpoint.model(checkpoint.config.dtype, "sdpa")
    for name, head in heads.items():
        model.config.heads[name] = head.model_dump(mode="json")
    files = {name: (checkpoint.path / name).read_bytes() for name in (TOKENIZER, TOKENIZER_CONFIG)}
    card = extend_card((checkpoint.path / CARD).read_text(encoding="utf-8"), comparison)
    metrics = {**checkpoint.metrics, KEY: comparison}
    new = out.resolve().with_name(f".{out.resolve().name}.new")
    shutil.rmtree(new, ignore_errors=True)
    save_checkpoint(new, model, files, metrics, card)
    replace_folder(out.resolve(), new)
    return open_checkpoint(out)


def replace_folder(folder: Path, new: Path) -> None:
    """Move `new` to `folder`; a folder that was there is deleted afterwards."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
