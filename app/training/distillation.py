"""Distillation: a student with fewer layers learns from a trained teacher.

The student starts with some of the teacher's layers. Its loss has three terms: the labels, the
teacher's predictions (Hinton, Vinyals and Dean 2015), and the teacher's hidden states after the
layer that each student layer was copied from (Jiao et al. 2020, "TinyBERT").
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import Tensor

from app.core.errors import CheckpointError
from app.core.head_labels import HEADS, Head
from app.model.base_encoder import BaseEncoder, evenly_spaced, keep_layers
from app.model.checkpoint import Checkpoint, open_checkpoint
from app.model.checkpoint_verification import TOKENIZER
from app.model.classifier import TwoHeadClassifier
from app.model.output import TwoHeadOutput
from app.training.options import TrainOptions

PREDICTION_SHARE = 0.8
"""Weight of the loss on the teacher's predictions; the loss on the labels has the rest of 1."""

HIDDEN_STATE_WEIGHT = 2.0
"""Weight of the distance between hidden states, added to those two."""


def open_teacher(
    options: TrainOptions, base: BaseEncoder, heads: Mapping[str, Head]
) -> Checkpoint | None:
    """Return the checkpoint of `--teacher`, or None without that option.

    Raises:
        CheckpointError: it is damaged, or its labels or its tokenizer are not those of the student.
    """
    if options.teacher is None:
        return None
    teacher = open_checkpoint(options.teacher)
    if {name: head.labels for name, head in teacher.heads.items()} != {
        name: head.labels for name, head in heads.items()
    }:
        raise CheckpointError(
            f"The teacher {teacher.name} has other labels than the data, or in another order; "
            "give both trainings the same --labels."
        )
    if (teacher.path / TOKENIZER).read_bytes() != base.tokenizer_files[TOKENIZER]:
        raise CheckpointError(f"The teacher {teacher.name} has another tokenizer than --base.")
    return teacher


def build_student(teacher: Checkpoint, layers: int | None, max_length: int) -> TwoHeadClassifier:
    """Return a float32 model with the teacher's heads and `layers` of its layers, evenly spaced.

    Args:
        teacher: the trained checkpoint.
        layers: how many layers to keep; all if None.
        max_length: tokens in the student's windows.

    Raises:
        CheckpointError: the teacher has fewer layers, or fewer positions than `max_length`.
    """
    model = teacher.model(torch.float32, "sdpa")
    if layers is not None:
        keep_layers(model.encoder, layers)
        model.config.encoder.num_hidden_layers = layers
    if max_length > model.config.longest_window():
        raise CheckpointError(
            f"The teacher {teacher.name} cannot read windows of {max_length} tokens."
        )
    model.config.max_length = max_length
    return model


class Distiller:
    """Computes a student's training loss, given a frozen teacher.

    Args:
        teacher: is moved to `device` and frozen.
        student_layers: number of encoder layers of the student.
        device: where the student trains.
    """

    def __init__(
        self, teacher: TwoHeadClassifier, student_layers: int, device: torch.device
    ) -> None:
        self._teacher = teacher.to(device).eval().requires_grad_(False)
        self._layers = evenly_spaced(teacher.config.encoder.num_hidden_layers, student_layers)

    def loss(
        self, student: TwoHeadOutput, labels_loss: Tensor, inputs: Mapping[str, Any]
    ) -> Tensor:
        """Return the weighted sum of the three losses, a scalar.

        Args:
            student: the student's output, with `hidden_states`.
            labels_loss: the student's loss on the labels, a scalar.
            inputs: the batch that the student read: input_ids and attention_mask, padded.

        Raises:
            ValueError: the student's output has no hidden states.
        """
        if student.hidden_states is None:
            raise ValueError("the student's output has no hidden states")
        with torch.no_grad():
            teacher = self._teacher(**inputs, output_hidden_states=True)
        predictions_loss = torch.stack(
            [
                F.cross_entropy(
                    student[f"{head}_logits"].float(),
                    teacher[f"{head}_logits"].float().softmax(-1),
                )
                for head in HEADS
            ]
        ).sum()
        states_loss = hidden_state_distance(
            student.hidden_states[1:],
            [teacher.hidden_states[layer + 1] for layer in self._layers],
            inputs["attention_mask"],
        )
        return (
            (1 - PREDICTION_SHARE) * labels_loss
            + PREDICTION_SHARE * predictions_loss
            + HIDDEN_STATE_WEIGHT * states_loss
        )


def hidden_state_distance(
    student: Sequence[Tensor], teacher: Sequence[Tensor], attention_mask: Tensor
) -> Tensor:
    """Return the squared distance of hidden states, divided by the teacher's variance.

    Args:
        student: one tensor per student layer, of shape (windows, length, hidden).
        teacher: the teacher's state for each of those layers, same shapes.
        attention_mask: 1 for tokens and 0 for padding, which is left out.

    Returns:
        A scalar, the mean over layers: 0 for equal states, 1 if each student state is the mean of
        the teacher's.
    """
    tokens = attention_mask.bool()
    distances = []
    for student_layer, teacher_layer in zip(student, teacher, strict=True):
        actual, target = student_layer[tokens].float(), teacher_layer[tokens].float()
        variance = (target - target.mean(dim=0)).square().sum()
        distances.append((actual - target).square().sum() / variance)
    return torch.stack(distances).mean()
