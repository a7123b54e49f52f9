"""The Hugging Face Trainer for two heads: dataset, padding, batch order, loss and Ctrl-C."""

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_pt_utils import get_length_grouped_indices

from app.core.head_labels import HEADS
from app.core.types import EncodedAd, FloatArray
from app.data.labelled_ads import Targets
from app.model.classifier import TwoHeadClassifier
from app.model.output import TwoHeadOutput, two_head_loss
from app.training.distillation import Distiller
from app.training.options import TrainOptions

Item = dict[str, Any]


class WindowDataset(Dataset[Item]):
    """A dataset with a row for each window of each ad; the labels are those of the ad.

    Args:
        encoded: the ads.
        targets: by head, int64 of shape (ads,).
        longest_first: sort the windows by length, so that consecutive batches have little padding.
    """

    def __init__(
        self,
        encoded: Sequence[EncodedAd],
        targets: Mapping[str, Targets],
        *,
        longest_first: bool = False,
    ) -> None:
        self._rows = [
            (ad, window)
            for ad, windows in enumerate(encoded)
            for window in range(len(windows.windows))
        ]
        self._encoded = encoded
        self._targets = targets
        if longest_first:
            self._rows.sort(key=lambda row: -len(encoded[row[0]].windows[row[1]]))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Item:
        ad, window = self._rows[index]
        return {
            "input_ids": self._encoded[ad].windows[window],
            "labels": [self._targets[head][ad] for head in HEADS],
        }

    def lengths(self) -> list[int]:
        """Return the number of tokens of each row."""
        return [len(self._encoded[ad].windows[window]) for ad, window in self._rows]

    def by_ad(self, values: FloatArray) -> list[FloatArray]:
        """Group the rows of an array of shape (windows, labels) by ad.

        Returns:
            For each ad an array of its windows in reading order.
        """
        order = sorted(range(len(self._rows)), key=self._rows.__getitem__)
        ads: list[list[int]] = [[] for _ in self._encoded]
        for index in order:
            ads[self._rows[index][0]].append(index)
        return [values[indices] for indices in ads]


@dataclass(frozen=True)
class PaddingCollator:
    """Collates windows into a batch, padded to its longest window with the token id `pad_id`."""

    pad_id: int

    def __call__(self, items: Sequence[Item]) -> dict[str, Tensor]:
        """Return int64 input_ids, attention_mask (windows, length) and labels (windows, heads)."""
        longest = max(len(item["input_ids"]) for item in items)
        ids = torch.full((len(items), longest), self.pad_id, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, item in enumerate(items):
            length = len(item["input_ids"])
            ids[row, :length] = torch.from_numpy(item["input_ids"])
            mask[row, :length] = 1
        labels = torch.tensor([item["labels"] for item in items], dtype=torch.int64)
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


class ResumableLengthSampler(Sampler[int]):
    """Draws random batches of similar length; the order depends only on the seed and the epoch.

    The sampler of transformers draws from the global generator, whose state is not restored in the
    middle of an epoch: a resumed epoch would see some rows twice and others never.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; accelerate's data loader calls this before each."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        return iter(
            get_length_grouped_indices(self._lengths, self._batch_size, generator=generator)
        )


class TwoHeadTrainer(Trainer):  # type: ignore[misc]  # checked as untyped
    """A Trainer with batches of similar length and, optionally, distillation from a teacher."""

    distiller: Distiller | None = None

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, TwoHeadOutput]:
        """Return the loss of a batch; the validation loss is without the teacher's part."""
        if self.distiller is None or not model.training:
            label_loss: Tensor | tuple[Tensor, TwoHeadOutput] = super().compute_loss(
                model, inputs, return_outputs, num_items_in_batch
            )
            return label_loss
        labels = inputs.pop("labels")
        output = model(**inputs, output_hidden_states=True)
        loss = self.distiller.loss(output, self.compute_loss_func(output, labels), inputs)
        return (loss, output) if return_outputs else loss

    def _get_train_sampler(self, train_dataset: WindowDataset | None = None) -> Sampler[int]:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        return ResumableLengthSampler(dataset.lengths(), self.args.train_batch_size, self.args.seed)


class InterruptCallback(TrainerCallback):  # type: ignore[misc]  # checked as untyped
    """Turns the first Ctrl-C into a stop after the current step, with the state saved.

    A second Ctrl-C stops at once. With several processes each would stop at a different step and
    wait for the others forever, so there Ctrl-C keeps its usual effect.
    """

    def __init__(self) -> None:
        self.interrupted = False
        self._previous_handler: Any = None

    def on_train_begin(self, args: Any, *_: object, **__: object) -> None:
        """Install the signal handler, in the main thread of a single process."""
        if args.world_size == 1 and threading.current_thread() is threading.main_thread():
            self._previous_handler = signal.signal(signal.SIGINT, self._interrupt)

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_: object) -> None:
        """After Ctrl-C, save the state and stop."""
        if self.interrupted:
            control.should_save = True
            control.should_training_stop = True

    def on_epoch_end(self, _args: Any, _state: Any, control: Any, **_: object) -> None:
        """After Ctrl-C, skip what the Trainer does after a complete epoch."""
        if self.interrupted:
            control.should_save = control.should_evaluate = control.should_log = False

    def on_train_end(self, *_: object, **__: object) -> None:
        """Restore the previous signal handler."""
        self.restore()

    def restore(self) -> None:
        """Restore the previous signal handler; may be called again, as after a failure."""
        if self._previous_handler is not None:
            signal.signal(signal.SIGINT, self._previous_handler)
            self._previous_handler = None

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self.interrupted = True
        self.restore()


def build_trainer(
    model: TwoHeadClassifier,
    options: TrainOptions,
    folder: Path,
    training: WindowDataset,
    validation: WindowDataset | None,
    class_weights: Mapping[str, Tensor] | None,
    callbacks: Sequence[TrainerCallback],
    teacher: TwoHeadClassifier | None = None,
) -> Trainer:
    """Return a Trainer that keeps the epoch of the lowest validation loss.

    Args:
        model: the model to train, in float32; a GPU trains it in mixed precision.
        options: the options of the training.
        folder: where the Trainer saves its state after each epoch.
        training: the windows to train on.
        validation: the windows to validate with; without, the last epoch is kept.
        class_weights: by head, float32 of shape (labels,).
        callbacks: for the Trainer.
        teacher: the model to learn from, in float32.
    """
    distance_weights = {
        name: options.distance_weight
        for name, head in model.config.parsed_heads().items()
        if head.ordered
    }

    def loss(output: TwoHeadOutput, labels: Tensor, **_: object) -> Tensor:
        weights = (
            {head: weight.to(labels.device) for head, weight in class_weights.items()}
            if class_weights
            else None
        )
        targets: dict[str, Tensor | None] = {
            head: labels[:, index] for index, head in enumerate(HEADS)
        }
        return two_head_loss(output, targets, weights, options.label_smoothing, distance_weights)

    trainer = TwoHeadTrainer(
        model=model,
        args=_arguments(options, folder, validates=validation is not None),
        data_collator=PaddingCollator(model.config.encoder.pad_token_id or 0),
        train_dataset=training,
        eval_dataset=validation,
        compute_loss_func=loss,
        callbacks=list(callbacks),
    )
    if teacher is not None:
        trainer.distiller = Distiller(
            teacher, model.config.encoder.num_hidden_layers, trainer.args.device
        )
    # The loss is the mean of a batch, so the Trainer has to divide it by the accumulated batches.
    trainer.loss_is_scaled_for_ga = False
    trainer.remove_callback(PrinterCallback)
    # The Trainer sets this key in every config, but an encoder has no cache.
    del model.config.use_cache
    return trainer


def _arguments(options: TrainOptions, folder: Path, *, validates: bool) -> TrainingArguments:
    cuda = torch.cuda.is_available()
    use_bf16 = cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=4 * options.batch_size,
        learning_rate=options.learning_rate,
        warmup_steps=options.warmup_ratio,
        weight_decay=options.weight_decay,
        seed=options.seed,
        bf16=use_bf16,
        fp16=cuda and not use_bf16,
        label_names=["labels"],
        remove_unused_columns=False,
        # The loss is a mean already; see `build_trainer`.
        average_tokens_across_devices=False,
        eval_strategy="epoch" if validates else "no",
        save_strategy="epoch",
        logging_strategy="epoch",
        # The states of the best epoch so far and of the latest.
        save_total_limit=2,
        load_best_model_at_end=validates,
        metric_for_best_model="loss" if validates else None,
        dataloader_pin_memory=cuda,
        report_to=[],
        disable_tqdm=True,
        log_level="error",
        log_level_replica="error",
    )
