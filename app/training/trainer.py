"""The Hugging Face Trainer, fitted to two heads: windows, padding, order, loss and interrupts."""

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
from app.core.types import Encoded, FloatArray
from app.data.labelled_ads import Targets
from app.model.classifier import TwoHeadClassifier
from app.model.output import TwoHeadOutput, two_head_loss
from app.training.distillation import Distiller
from app.training.options import TrainOptions

Item = dict[str, Any]


class Windows(Dataset[Item]):
    """Each window of each ad as a row of its own, with its ad's targets.

    Args:
        encoded: the ads.
        targets: by head, int64 of shape (ads,).
        longest_first: sorts the windows, so that batches in order have little padding.
    """

    def __init__(
        self,
        encoded: Sequence[Encoded],
        targets: Mapping[str, Targets],
        *,
        longest_first: bool = False,
    ) -> None:
        self.places = [
            (ad, window)
            for ad, windows in enumerate(encoded)
            for window in range(len(windows.windows))
        ]
        self._encoded = encoded
        self._targets = targets
        if longest_first:
            self.places.sort(key=lambda place: -len(encoded[place[0]].windows[place[1]]))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Item:
        ad, window = self.places[index]
        return {
            "input_ids": self._encoded[ad].windows[window],
            "labels": [self._targets[head][ad] for head in HEADS],
        }

    def lengths(self) -> list[int]:
        """Return each row's tokens."""
        return [len(self._encoded[ad].windows[window]) for ad, window in self.places]

    def by_ad(self, rows: FloatArray) -> list[FloatArray]:
        """Sort rows of shape (windows, labels) back under their ads, windows in reading order."""
        order = sorted(range(len(self.places)), key=self.places.__getitem__)
        ads: list[list[int]] = [[] for _ in self._encoded]
        for index in order:
            ads[self.places[index][0]].append(index)
        return [rows[indices] for indices in ads]


@dataclass(frozen=True)
class Padding:
    """Collates windows into one batch, padded to its longest."""

    pad: int

    def __call__(self, items: Sequence[Item]) -> dict[str, Tensor]:
        """Return input_ids and attention_mask (windows, length), and labels (windows, heads)."""
        longest = max(len(item["input_ids"]) for item in items)
        ids = torch.full((len(items), longest), self.pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, item in enumerate(items):
            length = len(item["input_ids"])
            ids[row, :length] = torch.from_numpy(item["input_ids"])
            mask[row, :length] = 1
        labels = torch.tensor([item["labels"] for item in items], dtype=torch.int64)
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


class ByLength(Sampler[int]):
    """Random batches of windows of like length, in an order that depends on seed and epoch only.

    The library's own sampler draws from the global generator, whose state an interrupt loses: a
    resumed epoch would see some rows twice and others not at all.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch; the data loader calls this."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        return iter(
            get_length_grouped_indices(self._lengths, self._batch_size, generator=generator)
        )


class TwoHeadTrainer(Trainer):  # type: ignore[misc]  # checked as untyped
    """The library's Trainer with batches by length and, where there is one, a teacher."""

    distiller: Distiller | None = None

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, TwoHeadOutput]:
        """Compute the loss of a batch; the teacher counts in training only."""
        if self.distiller is None or not model.training:
            found: Tensor | tuple[Tensor, TwoHeadOutput] = super().compute_loss(
                model, inputs, return_outputs, num_items_in_batch
            )
            return found
        labels = inputs.pop("labels")
        output = model(**inputs, output_hidden_states=True)
        loss = self.distiller.loss(output, self.compute_loss_func(output, labels), inputs)
        return (loss, output) if return_outputs else loss

    def _get_train_sampler(self, train_dataset: Windows | None = None) -> Sampler[int]:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        return ByLength(dataset.lengths(), self.args.train_batch_size, self.args.seed)


class Interruptible(TrainerCallback):  # type: ignore[misc]  # checked as untyped
    """Turns the first Ctrl-C into a stop after the running step, with everything saved.

    A second one stops at once. With several processes each would stop at another step and wait
    for the others forever, so there Ctrl-C keeps its plain meaning.
    """

    def __init__(self) -> None:
        self.interrupted = False
        self._before: Any = None

    def on_train_begin(self, args: Any, *_: object, **__: object) -> None:
        """Take over Ctrl-C."""
        if args.world_size == 1 and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._stop)

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_: object) -> None:
        """Ask for a save and the end."""
        if self.interrupted:
            control.should_save = True
            control.should_training_stop = True

    def on_epoch_end(self, _args: Any, _state: Any, control: Any, **_: object) -> None:
        """Leave out what is due after a whole epoch."""
        if self.interrupted:
            control.should_save = control.should_evaluate = control.should_log = False

    def on_train_end(self, *_: object, **__: object) -> None:
        """Give Ctrl-C back."""
        self.restore()

    def restore(self) -> None:
        """Give Ctrl-C back, also after a failure."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.interrupted = True
        self.restore()


def build_trainer(
    model: TwoHeadClassifier,
    options: TrainOptions,
    work: Path,
    training: Windows,
    validation: Windows | None,
    class_weights: Mapping[str, Tensor] | None,
    callbacks: Sequence[TrainerCallback],
    teacher: TwoHeadClassifier | None = None,
) -> Trainer:
    """Put the Trainer together: best epoch by validation loss, 16 bit where the GPU has it."""

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
        args=_arguments(options, work, validates=validation is not None),
        data_collator=Padding(model.config.encoder.pad_token_id or 0),
        train_dataset=training,
        eval_dataset=validation,
        compute_loss_func=loss,
        callbacks=list(callbacks),
    )
    if teacher is not None:
        trainer.distiller = Distiller(
            teacher, model.config.encoder.num_hidden_layers, trainer.args.device
        )
    # The loss is the mean of a batch; the Trainer has to divide it by the accumulated batches.
    trainer.loss_is_scaled_for_ga = False
    trainer.remove_callback(PrinterCallback)
    # The Trainer marks every config with this, but an encoder has no cache, nor ours such a key.
    del model.config.use_cache
    return trainer


def _arguments(options: TrainOptions, work: Path, *, validates: bool) -> TrainingArguments:
    cuda = torch.cuda.is_available()
    brain = cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    return TrainingArguments(
        output_dir=str(work),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=4 * options.batch_size,
        learning_rate=options.learning_rate,
        warmup_steps=options.warmup_ratio,
        weight_decay=options.weight_decay,
        seed=options.seed,
        bf16=brain,
        fp16=cuda and not brain,
        label_names=["labels"],
        remove_unused_columns=False,
        # As the loss is a mean already; see `build_trainer`.
        average_tokens_across_devices=False,
        eval_strategy="epoch" if validates else "no",
        save_strategy="epoch",
        logging_strategy="epoch",
        # Of the best epoch so far and of the latest.
        save_total_limit=2,
        load_best_model_at_end=validates,
        metric_for_best_model="loss" if validates else None,
        dataloader_pin_memory=cuda,
        report_to=[],
        disable_tqdm=True,
        log_level="error",
        log_level_replica="error",
    )
