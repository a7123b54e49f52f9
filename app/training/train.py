"""Training: labelled ads and a base encoder in, a calibrated checkpoint out."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback, set_seed

from app.core.errors import SettingsError, StartupError
from app.core.head_labels import HEADS, IGNORED, Head
from app.core.label_files import read_labels
from app.core.types import Encoded, FloatArray
from app.data.files import chunks
from app.data.labelled_ads import Columns, LabelledAds, Targets, check_enough, read_labelled
from app.model.base_encoder import BaseEncoder, freeze, keep_layers, open_base
from app.model.checkpoint import Checkpoint, refuse_taken, save_checkpoint
from app.model.classifier import TwoHeadClassifier
from app.text.tokenization import AdTokenizer
from app.training.distillation import open_teacher, student_of
from app.training.evaluation.head_metrics import fit_temperature, measure_head
from app.training.model_card import card
from app.training.options import TrainOptions
from app.training.run_folder import Say, check_work, identity, last_saved, open_work
from app.training.trainer import Interruptible, Windows, build_trainer
from app.training.validation_split import split


@dataclass(frozen=True)
class Part:
    """The rows that train or those that validate."""

    table: LabelledAds
    targets: Mapping[str, Targets]
    encoded: Sequence[Encoded]

    def counts(self) -> dict[str, int]:
        """Return how many rows, windows and labels there are."""
        return {
            "rows": len(self.table),
            "windows": sum(len(ad.windows) for ad in self.encoded),
            "truncated": sum(ad.truncated for ad in self.encoded),
            **{head: int((self.targets[head] != IGNORED).sum()) for head in HEADS},
        }


def train(
    options: TrainOptions, callbacks: Sequence[TrainerCallback] = (), say: Say = lambda _: None
) -> Checkpoint | None:
    """Train a two-head checkpoint and save it.

    Args:
        options: what to do.
        callbacks: of the Trainer, for progress.
        say: takes one-line notes for the person who waits.

    Returns:
        The saved checkpoint; None in all processes of a distributed run but the first.

    Raises:
        StartupError: something does not fit, in one sentence.
        KeyboardInterrupt: with a sentence that tells how to go on.
    """
    options.check()
    refuse_taken(options.out)
    base = open_base(options.base)
    max_length = base.window(options.max_length)
    run = identity(options, max_length)
    check_work(options, run, say)
    heads, training, validation, skipped = _read(options, base.tokenizer(max_length))
    if skipped:
        say(f"{skipped} rows without any label are left out.")
    teacher = open_teacher(options, base, heads)
    set_seed(options.seed)
    model = _build(base, options, heads, max_length, teacher)
    validating = (
        Windows(validation.encoded, validation.targets, longest_first=True) if validation else None
    )
    work = open_work(options, run)
    interruptible = Interruptible()
    trainer = build_trainer(
        model,
        options,
        work,
        Windows(training.encoded, training.targets),
        validating,
        _class_weights(training.targets, heads) if options.class_weights else None,
        [*callbacks, interruptible],
        teacher.model(torch.float32, "sdpa") if teacher else None,
    )
    begin = time.perf_counter()
    _run(trainer, interruptible, work, options)
    seconds = time.perf_counter() - begin
    logits = _validation_logits(trainer, validating)
    if not trainer.is_world_process_zero():
        return None
    _refuse_nan(model)
    metrics = {
        **_rows(training, validation, skipped),
        **_calibrate(model, heads, logits, validation, say),
        "epochs": options.epochs,
        "history": _history(trainer.state.log_history),
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "device": _device(trainer.args.device),
        "command": options.command(max_length),
        **({"teacher": _lineage(teacher)} if teacher else {}),
    }
    model.to("cpu", getattr(torch, options.save_dtype))
    text = card(options, max_length, model, metrics)
    checkpoint = save_checkpoint(options.out, model, base.tokenizer_files, metrics, text)
    shutil.rmtree(work, ignore_errors=True)
    return checkpoint


def _read(
    options: TrainOptions, tokenizer: AdTokenizer
) -> tuple[dict[str, Head], Part, Part | None, int]:
    """Read, check, split and encode the data."""
    columns = Columns(
        options.text_column,
        options.title_column,
        options.job_category_column,
        options.min_education_column,
        options.group_column,
    )
    table = read_labelled(options.data, columns)
    skipped = table.unlabelled
    heads = read_labels(options.labels) if options.labels else table.heads()
    if options.distance_weight and not any(head.ordered for head in heads.values()):
        raise SettingsError(
            "--distance-weight is for levels, but --labels marks no head as ordered."
        )
    source = str(options.labels or options.data)
    table.targets(heads, source)
    held: LabelledAds | None = None
    if options.validation:
        held = read_labelled(options.validation, columns)
        skipped += held.unlabelled
    elif options.validation_share:
        trains, validates = split(table, options.validation_share, options.seed)
        table, held = table.select(trains), table.select(validates)
    training = _part(table, heads, source, tokenizer)
    check_enough(table, training.targets, heads)
    validation = _part(held, heads, source, tokenizer) if held is not None else None
    return heads, training, validation, skipped


def _part(
    table: LabelledAds, heads: Mapping[str, Head], source: str, tokenizer: AdTokenizer
) -> Part:
    targets = table.targets(heads, source)
    encoded = [ad for chunk in chunks(table.ads) for ad in tokenizer.encode(chunk)]
    return Part(table, targets, encoded)


def _build(
    base: BaseEncoder,
    options: TrainOptions,
    heads: dict[str, Head],
    max_length: int,
    teacher: Checkpoint | None,
) -> TwoHeadClassifier:
    if teacher:
        model = student_of(teacher, options.layers, max_length)
        for name, head in heads.items():
            model.config.heads[name] = head.model_dump(mode="json")
    else:
        encoder = base.encoder()
        if options.layers is not None:
            keep_layers(encoder, options.layers)
        model = TwoHeadClassifier.from_encoder(encoder, heads, max_length=max_length)
    if options.freeze_layers is not None:
        freeze(model.encoder, options.freeze_layers)
    return model


def _lineage(teacher: Checkpoint) -> dict[str, Any]:
    """Return what a student's card tells of its teacher."""
    return {
        "name": teacher.name,
        "revision": teacher.revision,
        "layers": teacher.config.encoder.num_hidden_layers,
        "command": teacher.metrics.get("command"),
    }


def _class_weights(targets: Mapping[str, Targets], heads: Mapping[str, Head]) -> dict[str, Tensor]:
    """Weigh each class by rows / (classes * rows of the class); 1 for a class without rows."""
    from sklearn.utils.class_weight import compute_class_weight

    weights = {}
    for name, head in heads.items():
        seen = targets[name][targets[name] != IGNORED]
        classes = np.unique(seen)
        weight = np.ones(len(head.labels), dtype=np.float32)
        weight[classes] = compute_class_weight("balanced", classes=classes, y=seen)
        weights[name] = torch.from_numpy(weight)
    return weights


def _run(trainer: Trainer, interruptible: Interruptible, work: Path, options: TrainOptions) -> None:
    hint = "run the same command with --resume to go on."
    try:
        trainer.train(resume_from_checkpoint=last_saved(work) if options.resume else None)
    except torch.OutOfMemoryError as error:
        raise StartupError(
            "The device's memory does not suffice; lower --batch-size or --max-length."
        ) from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Interrupted; {hint}") from None
    finally:
        interruptible.restore()
    if interruptible.interrupted:
        done = f"{trainer.state.global_step} of {trainer.state.max_steps}"
        raise KeyboardInterrupt(f"Interrupted after step {done}; {hint}")


def _validation_logits(trainer: Trainer, windows: Windows | None) -> dict[str, list[FloatArray]]:
    """Return by head each validation ad's logits of shape (windows, labels)."""
    if windows is None:
        return {}
    rows = trainer.predict(windows).predictions
    return {head: windows.by_ad(values) for head, values in zip(HEADS, rows, strict=True)}


def _calibrate(
    model: TwoHeadClassifier,
    heads: Mapping[str, Head],
    logits: Mapping[str, Sequence[FloatArray]],
    validation: Part | None,
    say: Say,
) -> dict[str, Any]:
    """Fit both temperatures, put them into the model's config and measure the heads with them."""
    if validation is None:
        say("Nothing validates, so both temperatures stay at 1.")
        return {}
    metrics = {}
    for name, head in heads.items():
        targets = validation.targets[name]
        temperature = fit_temperature(logits[name], targets)
        if temperature is None:
            say(f"No validation row has a label for {name}: its temperature stays at 1.")
        fitted = head.model_copy(update={"temperature": temperature or 1.0})
        model.config.heads[name] = fitted.model_dump(mode="json")
        metrics[name] = measure_head(logits[name], targets, fitted).summary()
    return metrics


def _rows(training: Part, validation: Part | None, skipped: int) -> dict[str, Any]:
    held = {"validation": validation.counts()} if validation else {}
    return {"rows": {"train": training.counts(), **held, "unlabelled": skipped}}


def _history(log: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Join the Trainer's log into one entry an epoch, with both losses."""
    epochs: dict[int, dict[str, float]] = {}
    for entry in log:
        for key, name in (("loss", "train_loss"), ("eval_loss", "validation_loss")):
            if key in entry:
                epoch = round(entry["epoch"])
                epochs.setdefault(epoch, {"epoch": epoch})[name] = round(entry[key], 6)
    return list(epochs.values())


def _device(device: torch.device) -> str:
    # How a CPU's threads share the work decides the last digits of its sums.
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'s' if threads > 1 else ''}"


def _refuse_nan(model: TwoHeadClassifier) -> None:
    if not all(bool(torch.isfinite(tensor).all()) for tensor in model.parameters()):
        raise StartupError("The training diverged to NaN; lower --learning-rate.")
