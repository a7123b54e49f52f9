"""The two-head classifier's output, and the loss over both heads."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import Tensor
from transformers.utils import ModelOutput

from app.core.head_labels import HEADS, IGNORE_INDEX


@dataclass
class TwoHeadOutput(ModelOutput):  # type: ignore[misc]  # checked as untyped
    """The output of `TwoHeadClassifier.forward`; logits are of shape (windows, labels).

    `hidden_states`, with `output_hidden_states`, are those of the embeddings and of each layer, of
    shape (windows, length, hidden).
    """

    loss: Tensor | None = None
    job_category_logits: Tensor | None = None
    min_education_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


def two_head_loss(
    output: TwoHeadOutput,
    targets: dict[str, Tensor | None],
    class_weights: dict[str, Tensor] | None = None,
    label_smoothing: float = 0.0,
    distance_weights: Mapping[str, float] | None = None,
) -> Tensor:
    """Return the sum of both heads' losses, so that one backward pass trains both.

    A head's loss is the mean cross-entropy of its labelled rows. For a head with a distance weight,
    that weight times `expected_distance` is added, so that a prediction costs more the more levels
    it is off.

    Args:
        output: the logits of both heads.
        targets: by head, int64 of shape (windows,); `IGNORE_INDEX` excludes a row from that head's
            loss, None excludes the head.
        class_weights: by head, float of shape (labels,).
        label_smoothing: share of the target that is spread evenly over all labels, in [0, 1).
        distance_weights: by ordered head, at least 0.

    Returns:
        A scalar; 0 if no row has a label.
    """
    losses = []
    for head in HEADS:
        target, logits = targets.get(head), output[f"{head}_logits"]
        if target is None or not (target != IGNORE_INDEX).any():
            # The mean over no rows would be NaN. This zero keeps the head in the autograd graph,
            # because distributed training waits for a gradient of every parameter.
            losses.append(logits.float().sum() * 0.0)
            continue
        losses.append(
            F.cross_entropy(
                logits.float(),
                target,
                weight=None if class_weights is None else class_weights.get(head),
                ignore_index=IGNORE_INDEX,
                label_smoothing=label_smoothing,
            )
        )
        if distance_weight := (distance_weights or {}).get(head):
            losses.append(distance_weight * expected_distance(logits, target))
    return torch.stack(losses).sum()


def expected_distance(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean over labelled rows of the expected distance, in levels, to the true level.

    The expectation is over the predicted probabilities; it equals the earth mover's distance to a
    one-hot target (Hou, Yu and Samaras 2016).

    Args:
        logits: shape (windows, levels).
        target: int64 of shape (windows,), with at least one label that is not `IGNORE_INDEX`.
    """
    labelled = target != IGNORE_INDEX
    levels = torch.arange(logits.shape[-1], device=logits.device)
    distance = (levels - target[labelled].unsqueeze(-1)).abs()
    return (logits[labelled].float().softmax(-1) * distance).sum(-1).mean()
