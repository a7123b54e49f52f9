"""What the two-head classifier returns, and the loss of both heads."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import Tensor
from transformers.utils import ModelOutput

from app.core.head_labels import HEADS, IGNORED


@dataclass
class TwoHeadOutput(ModelOutput):  # type: ignore[misc]  # checked as untyped
    """What `TwoHeadClassifier.forward` returns; logits are of shape (windows, labels).

    `hidden_states`, where asked for, are those of the embeddings and of each layer, of shape
    (windows, length, hidden).
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
    """Sum both heads' losses, so that one backward pass trains both.

    A head's loss is its cross-entropy; for a head with a distance weight, that weight times the
    expected distance in levels is added, which for one true level is the earth mover's distance
    between prediction and truth (Hou, Yu and Samaras 2016), so that far misses cost more.

    Args:
        output: the logits of both heads.
        targets: by head, int64 of shape (windows,); `IGNORED` leaves a row out of that head only,
            None leaves out the head.
        class_weights: by head, float of shape (labels,).
        label_smoothing: share of the target spread over all labels, from 0 to below 1.
        distance_weights: by head whose labels are levels, from 0.

    Returns:
        A scalar; 0 where no row has a label.
    """
    losses = []
    for head in HEADS:
        target, logits = targets.get(head), output[f"{head}_logits"]
        if target is None or not (target != IGNORED).any():
            # The mean over no rows would be NaN; this keeps the head in the graph, with no pull.
            losses.append(logits.float().sum() * 0.0)
            continue
        losses.append(
            F.cross_entropy(
                logits.float(),
                target,
                weight=None if class_weights is None else class_weights.get(head),
                ignore_index=IGNORED,
                label_smoothing=label_smoothing,
            )
        )
        if distance_weight := (distance_weights or {}).get(head):
            losses.append(distance_weight * expected_distance(logits, target))
    return torch.stack(losses).sum()


def expected_distance(logits: Tensor, target: Tensor) -> Tensor:
    """Return how many levels off a draw from the prediction is on average, over labelled rows.

    Args:
        logits: shape (windows, levels).
        target: int64 of shape (windows,), at least one of them not `IGNORED`.
    """
    labelled = target != IGNORED
    levels = torch.arange(logits.shape[-1], device=logits.device)
    distance = (levels - target[labelled].unsqueeze(-1)).abs()
    return (logits[labelled].float().softmax(-1) * distance).sum(-1).mean()
