"""Trains a checkpoint: from labelled ads and a base encoder to a calibrated two-head model."""

import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, set_seed

from app.core.errors import StartupError
from app.core.head_labels import HEADS, Head
from app.core.types import FloatArray
from app.model.base_encoder import BaseEncoder, freeze_lowest_layers, keep_layers, open_base_encoder
from app.model.checkpoint import Checkpoint, require_empty_target, save_checkpoint
from app.model.classifier import TwoHeadClassifier
from app.training.distillation import build_student, open_teacher
from app.training.encoded_rows import EncodedRows, class_weights, read_training_rows
from app.training.evaluation.calibration import fit_temperature
from app.training.evaluation.head_metrics import measure_head
from app.training.model_card import model_card
from app.training.options import TrainOptions
from app.training.run_folder import (
    Notify,
    check_run_folder,
    create_run_folder,
    last_trainer_state,
    run_fingerprint,
)
from app.training.trainer import InterruptCallback, WindowDataset, build_trainer


def train(
    options: TrainOptions,
    callbacks: Sequence[TrainerCallback] = (),
    notify: Notify = lambda _: None,
) -> Checkpoint | None:
    """Train a two-head checkpoint and save it.

    Args:
        options: the options of `doppelkopf train`.
        callbacks: for the Trainer, for example to show progress.
        notify: receives one-line messages for the user.

    Returns:
        The saved checkpoint; in a distributed run None in all processes but the first.

    Raises:
        StartupError: an option, the data or the base encoder is wrong; the message is one sentence.
        KeyboardInterrupt: the training was interrupted; the message says how to resume.
    """
    options.check()
    require_empty_target(options.out)
    base = open_base_encoder(options.base)
    max_length = base.window(options.max_length)
    fingerprint = run_fingerprint(options, max_length)
    check_run_folder(options, fingerprint, notify)
    rows = read_training_rows(options, base.tokenizer(max_length))
    if rows.unlabelled:
        notify(f"{rows.unlabelled} rows without any label are left out.")
    teacher = open_teacher(options, base, rows.heads)
    set_seed(options.seed)
    model = _build_model(base, options, rows.heads, max_length, teacher)
    training = WindowDataset(rows.training.encoded, rows.training.targets)
    validation = (
        WindowDataset(rows.validation.encoded, rows.validation.targets, longest_first=True)
        if rows.validation
        else None
    )
    folder = create_run_folder(options, fingerprint)
    interrupt = InterruptCallback()
    trainer = build_trainer(
        model,
        options,
        folder,
        training,
        validation,
        class_weights(rows.training.targets, rows.heads) if options.class_weights else None,
        [*callbacks, interrupt],
        teacher.model(torch.float32, "sdpa") if teacher else None,
    )
    start = time.perf_counter()
    _run_trainer(trainer, interrupt, folder, resume=options.resume)
    seconds = time.perf_counter() - start
    logits = _validation_logits(trainer, validation)
    if not trainer.is_world_process_zero():
        return None
    _check_finite(model)
    metrics = {
        "rows": rows.counts(),
        **_calibrate(model, rows.heads, logits, rows.validation, notify),
        "epochs": options.epochs,
        "history": _loss_history(trainer.state.log_history),
        "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "device": _device_name(trainer.args.device),
        "command": options.command(max_length),
        **({"teacher": _teacher_record(teacher)} if teacher else {}),
    }
    model.to("cpu", getattr(torch, options.save_dtype))
    card = model_card(options, max_length, model, metrics)
    checkpoint = save_checkpoint(options.out, model, base.tokenizer_files, metrics, card)
    shutil.rmtree(folder, ignore_errors=True)
    return checkpoint


def _build_model(
    base: BaseEncoder,
    options: TrainOptions,
    heads: dict[str, Head],
    max_length: int,
    teacher: Checkpoint | None,
) -> TwoHeadClassifier:
    if teacher:
        model = build_student(teacher, options.layers, max_length)
        for name, head in heads.items():
            model.config.heads[name] = head.model_dump(mode="json")
    else:
        encoder = base.encoder()
        if options.layers is not None:
            keep_layers(encoder, options.layers)
        model = TwoHeadClassifier.from_encoder(encoder, heads, max_length=max_length)
    if options.freeze_layers is not None:
        freeze_lowest_layers(model.encoder, options.freeze_layers)
    return model


def _run_trainer(
    trainer: Trainer, interrupt: InterruptCallback, folder: Path, *, resume: bool
) -> None:
    hint = "run the same command with --resume to continue."
    try:
        trainer.train(resume_from_checkpoint=last_trainer_state(folder) if resume else None)
    except torch.OutOfMemoryError as error:
        raise StartupError(
            "The device ran out of memory; lower --batch-size or --max-length."
        ) from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Interrupted; {hint}") from None
    finally:
        interrupt.restore()
    if interrupt.interrupted:
        done = f"{trainer.state.global_step} of {trainer.state.max_steps}"
        raise KeyboardInterrupt(f"Interrupted after step {done}; {hint}")


def _validation_logits(
    trainer: Trainer, windows: WindowDataset | None
) -> dict[str, list[FloatArray]]:
    """Return by head each validation ad's logits of shape (windows, labels)."""
    if windows is None:
        return {}
    rows = trainer.predict(windows).predictions
    return {head: windows.by_ad(values) for head, values in zip(HEADS, rows, strict=True)}


def _check_finite(model: TwoHeadClassifier) -> None:
    if not all(bool(torch.isfinite(tensor).all()) for tensor in model.parameters()):
        raise StartupError("The training diverged to NaN; lower --learning-rate.")


def _calibrate(
    model: TwoHeadClassifier,
    heads: Mapping[str, Head],
    logits: Mapping[str, Sequence[FloatArray]],
    validation: EncodedRows | None,
    notify: Notify,
) -> dict[str, Any]:
    """Fit both temperatures, set them in the model's config, and return the heads' metrics."""
    if validation is None:
        notify("There are no validation rows, so both temperatures stay at 1.")
        return {}
    metrics = {}
    for name, head in heads.items():
        targets = validation.targets[name]
        temperature = fit_temperature(logits[name], targets)
        if temperature is None:
            notify(f"No validation row has a label for {name}: its temperature stays at 1.")
        fitted = head.model_copy(update={"temperature": temperature or 1.0})
        model.config.heads[name] = fitted.model_dump(mode="json")
        metrics[name] = measure_head(logits[name], targets, fitted).summary()
    return metrics


def _loss_history(log: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Merge the Trainer's log into one entry per epoch with the training and validation loss."""
    epochs: dict[int, dict[str, float]] = {}
    for entry in log:
        for key, name in (("loss", "train_loss"), ("eval_loss", "validation_loss")):
            if key in entry:
                epoch = round(entry["epoch"])
                epochs.setdefault(epoch, {"epoch": epoch})[name] = round(entry[key], 6)
    return list(epochs.values())


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    # The number of threads decides the order of a sum's terms, and so its last digits.
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'s' if threads > 1 else ''}"


def _teacher_record(teacher: Checkpoint) -> dict[str, Any]:
    """Return what `metrics.json` and the card of a student say about its teacher."""
    return {
        "name": teacher.name,
        "revision": teacher.revision,
        "layers": teacher.config.encoder.num_hidden_layers,
        "command": teacher.metrics.get("command"),
    }
