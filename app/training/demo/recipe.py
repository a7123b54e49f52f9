"""The recipe of the demo checkpoint: from occupation data to a measured checkpoint folder.

Occupation titles become generated ads, the whole base encoder is fine-tuned on them and teaches a
student of half its layers, both temperatures are fitted on hand-labelled ads, and simple contenders
are measured beside the result.
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
from app.model.checkpoint import Checkpoint, open_checkpoint, refuse_taken, save_checkpoint
from app.model.checkpoint_verification import CARD, TOKENIZER, TOKENIZER_CONFIG
from app.training.demo.benchmark import measure, simple_contenders
from app.training.demo.comparison_tables import KEY, compared, extended
from app.training.demo.hand_labelled import read_hand_labelled
from app.training.demo.training_data import write_demo
from app.training.options import TrainOptions
from app.training.run_folder import Say, last_saved, work_folder
from app.training.train import train

EngineFactory = Callable[[Checkpoint], PackedPass[WindowLogits]]
"""Loads a checkpoint for its raw logits; handed in, since training knows no engine."""

DATA_SEED, ROWS = 7, 30_000
TEACHER = TrainOptions(
    data=Path("train.csv"), base="base-encoder", out=Path("teacher"), epochs=1, batch_size=16,
    learning_rate=1.5e-4, label_smoothing=0.05, max_length=512, freeze_layers=6, seed=7,
)  # fmt: skip
"""How the teacher is trained: every layer reads, the upper half learns."""

TRAINING = TrainOptions(
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
"""How the demo, the teacher's student, is trained; the paths are those of the work folder."""


def student_training(*, gpu: bool) -> TrainOptions:
    """Return how the student is trained: a GPU affords a second epoch, two CPU cores do not."""
    return replace(TRAINING, epochs=2 if gpu else 1)


def make_demo(
    shared: Path,
    out: Path,
    work: Path,
    engine_factory: EngineFactory,
    say: Say = lambda _: None,
    *,
    trained: Path | None = None,
    overwrite: bool = False,
    with_baselines: bool = True,
    rows: int = ROWS,
    teaching: TrainOptions = TEACHER,
    training: TrainOptions | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> Checkpoint:
    """Make the demo checkpoint and measure it.

    Args:
        shared: folder with the base encoder, the occupation data, the taxonomy and the ads.
        out: the checkpoint folder to make.
        work: keeps what is made on the way; a second run finds the unpacked base there.
        engine_factory: see `EngineFactory`.
        say: takes one-line notes for the person who waits.
        trained: a checkpoint that was trained elsewhere, to measure instead of training one.
        overwrite: replace `out` where a checkpoint is there already.
        with_baselines: measure the simple contenders too.
        rows: to generate.
        teaching: how to train the teacher; its paths are replaced.
        training: how to train its student; likewise. By default as the device affords it.
        callbacks: of the Trainer, for progress.

    Raises:
        StartupError: something is missing or does not fit, in one sentence.
    """
    _check_out(out, overwrite=overwrite)
    training = training or student_training(gpu=torch.cuda.is_available())
    base = unpack_base(shared, work)
    data = work / "data"
    say("Writing the training ads.")
    count, _ = write_demo(shared, data, seed=DATA_SEED, rows=rows)
    say(f"{count:,} ads to train on are in {data}.")
    own = work / "trained" / out.resolve().name
    if trained is None:
        checkpoint = _train(data, base, own, teaching, training, say, callbacks)
    else:
        checkpoint = open_checkpoint(trained)
    ads = read_hand_labelled(shared, checkpoint.heads)
    say(f"Measuring on {len(ads)} hand-labelled ads.")
    measured = measure(checkpoint, ads, engine_factory(checkpoint))
    others = (
        simple_contenders(shared, data, base, measured.heads, ads, say) if with_baselines else ()
    )
    comparison = compared(ads, measured.heads, [*others, measured.contender])
    comparison |= {
        "checkpoint": measured.contender.name,
        "temperatures": {name: head.temperature for name, head in measured.heads.items()},
        "ece_apart": measured.ece_apart,
        "same_rows": _same_rows(checkpoint.path, data),
    }
    if not comparison["same_rows"]:
        say("The checkpoint was trained on other rows than those the simple contenders see.")
    saved = _save(out, checkpoint, measured.heads, comparison)
    if trained is None:
        for folder in (own, _teacher_folder(own)):
            shutil.rmtree(folder)
    return saved


def unpack_base(shared: Path, work: Path) -> Path:
    """Unpack the base encoder into the work folder, unless it is there; returns its folder.

    Raises:
        DataError: the archive is missing or damaged.
    """
    folder = work / "base-encoder"
    if folder.is_dir():
        return folder
    archive = shared / "base-encoder" / "base-encoder.tar.xz"
    beside = work / ".base-encoder.partial"
    work.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(beside, filter="data")
    except FileNotFoundError as error:
        raise DataError.at(archive, "the file does not exist.") from error
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError.at(archive, f"cannot be unpacked: {error}.") from error
    # Renamed when it is whole, so that an interrupt leaves no half of it to be found.
    beside.rename(folder)
    return folder


def _check_out(out: Path, *, overwrite: bool) -> None:
    """Refuse a taken folder; with `overwrite`, one that is no checkpoint."""
    try:
        refuse_taken(out)
    except CheckpointError as error:
        if not overwrite:
            raise CheckpointError(f"{out} exists already; replace it with --overwrite.") from error
        open_checkpoint(out)


def _same_rows(folder: Path, data: Path) -> bool:
    """Tell whether a checkpoint was trained on the rows that were written."""
    return sha256(data / "train.csv") in (folder / CARD).read_text(encoding="utf-8")


def _train(
    data: Path,
    base: Path,
    own: Path,
    teaching: TrainOptions,
    training: TrainOptions,
    say: Say,
    callbacks: Sequence[TrainerCallback],
) -> Checkpoint:
    """Train the teacher, unless an earlier run has finished it, and then its student."""
    if own.exists():
        raise CheckpointError(
            f"{own} is left from an earlier run: go on with --trained {own}, or remove it."
        )

    def train_here(options: TrainOptions, out: Path, teacher: Path | None = None) -> Checkpoint:
        here = replace(
            options, data=data / "train.csv", base=str(base), out=out, labels=data / "labels.json",
            validation=data / "validation.csv", teacher=teacher,
            resume=last_saved(work_folder(out)) is not None,
        )  # fmt: skip
        try:
            checkpoint = train(here, callbacks, say)
        except KeyboardInterrupt:
            # The training's own hint names an option that this command does without.
            raise KeyboardInterrupt("Interrupted; run the same command to go on.") from None
        if checkpoint is None:
            raise CheckpointError("The recipe runs in one process, not under accelerate launch.")
        return checkpoint

    teacher = _teacher_folder(own)
    if not teacher.exists():
        say("Training the teacher.")
        train_here(teaching, teacher)
    elif not _same_rows(teacher, data):
        raise CheckpointError(f"{teacher} is left from a run on other rows: remove it.")
    say("Training its student.")
    return train_here(training, own, teacher)


def _teacher_folder(own: Path) -> Path:
    return own.with_name(f"{own.name}-teacher")


def _save(
    out: Path, checkpoint: Checkpoint, heads: Mapping[str, Head], comparison: dict[str, Any]
) -> Checkpoint:
    """Save the checkpoint with its new temperatures, card and figures; the weights stay."""
    model = checkpoint.model(checkpoint.config.dtype, "sdpa")
    for name, head in heads.items():
        model.config.heads[name] = head.model_dump(mode="json")
    files = {name: (checkpoint.path / name).read_bytes() for name in (TOKENIZER, TOKENIZER_CONFIG)}
    card = extended((checkpoint.path / CARD).read_text(encoding="utf-8"), comparison)
    metrics = {**checkpoint.metrics, KEY: comparison}
    beside = out.resolve().with_name(f".{out.resolve().name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    save_checkpoint(beside, model, files, metrics, card)
    swap(beside, out.resolve())
    return open_checkpoint(out)


def swap(beside: Path, folder: Path) -> None:
    """Put a finished folder in the place of another, which is gone only after that."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    beside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
