"""Distillation: a student of few layers learns from a trained teacher of more.

The student begins as some of the teacher's own layers and learns three things at once: the labels,
the teacher's answers (Hinton, Vinyals and Dean 2015), and the states that the teacher has after the
layer that each of its own stands for (Jiao et al. 2020, "TinyBERT").
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

ANSWERS_SHARE = 0.8
"""What the teacher's answers weigh against the labels, which have the rest."""

STATES_WEIGHT = 2.0
"""What the distance between states weighs beside those two."""


def open_teacher(
    options: TrainOptions, base: BaseEncoder, heads: Mapping[str, Head]
) -> Checkpoint | None:
    """Return the teacher's checkpoint, where the options name one.

    Raises:
        CheckpointError: it is damaged, or answers other labels or reads other tokens.
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


def student_of(teacher: Checkpoint, layers: int | None, max_length: int) -> TwoHeadClassifier:
    """Return a float32 model of the teacher's heads and `layers` of its layers, evenly spread.

    Raises:
        CheckpointError: the teacher has fewer layers, or too short windows.
    """
    model = teacher.model(torch.float32, "sdpa")
    if layers is not None:
        keep_layers(model.encoder, layers)
        model.config.encoder.num_hidden_layers = layers
    if max_length > model.config.longest_window():
        raise CheckpointError(f"The teacher {teacher.name} has no windows of {max_length} tokens.")
    model.config.max_length = max_length
    return model


class Distiller:
    """Measures how far a student in training is from its teacher."""

    def __init__(
        self, teacher: TwoHeadClassifier, student_layers: int, device: torch.device
    ) -> None:
        """Take a trained teacher, which is moved to `device`, and the student's size."""
        self._teacher = teacher.to(device).eval().requires_grad_(False)
        self._layers = evenly_spaced(teacher.config.encoder.num_hidden_layers, student_layers)

    def loss(
        self, student: TwoHeadOutput, labels_loss: Tensor, inputs: Mapping[str, Any]
    ) -> Tensor:
        """Weigh the loss of the labels with both distances from the teacher.

        Args:
            student: its output with `hidden_states`.
            labels_loss: the student's loss on the labels, a scalar.
            inputs: what the student was given: input_ids and attention_mask, padded.
        """
        if student.hidden_states is None:
            raise ValueError("the student's output needs its hidden states")
        with torch.no_grad():
            teacher = self._teacher(**inputs, output_hidden_states=True)
        answers = torch.stack(
            [
                F.cross_entropy(
                    student[f"{head}_logits"].float(),
                    teacher[f"{head}_logits"].float().softmax(-1),
                )
                for head in HEADS
            ]
        ).sum()
        states = states_distance(
            student.hidden_states[1:],
            [teacher.hidden_states[layer + 1] for layer in self._layers],
            inputs["attention_mask"],
        )
        return (1 - ANSWERS_SHARE) * labels_loss + ANSWERS_SHARE * answers + STATES_WEIGHT * states


def states_distance(
    student: Sequence[Tensor], teacher: Sequence[Tensor], attention_mask: Tensor
) -> Tensor:
    """Return the squared distance of states, as a share of the teacher's variance.

    Args:
        student: by layer, shape (windows, length, hidden).
        teacher: by the student's layers, likewise.
        attention_mask: 1 for tokens and 0 for padding, which does not count.

    Returns:
        A scalar, the mean over layers: 0 for equal states, 1 for a student that knows but the mean.
    """
    tokens = attention_mask.bool()
    shares = []
    for own, wanted in zip(student, teacher, strict=True):
        own_tokens, wanted_tokens = own[tokens].float(), wanted[tokens].float()
        variance = (wanted_tokens - wanted_tokens.mean(dim=0)).square().sum()
        shares.append((own_tokens - wanted_tokens).square().sum() / variance)
    return torch.stack(shares).mean()
