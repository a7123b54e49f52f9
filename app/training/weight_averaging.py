"""Averages the weights of checkpoints that were fine-tuned from the same base.

The average is often better than its parts on texts unlike the training data, and as fast as one of
them (Wortsman et al. 2022, "Model soups").
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from app.core.errors import CheckpointError
from app.model.checkpoint import Checkpoint, open_checkpoint, require_empty_target, save_checkpoint
from app.model.checkpoint_verification import TOKENIZER, TOKENIZER_CONFIG
from app.model.classifier import TwoHeadClassifier

ATTENTION = "sdpa"


def average_weights(checkpoints: Sequence[Checkpoint]) -> TwoHeadClassifier:
    """Return a float32 model in which every weight is the mean of the checkpoints' weights.

    Its heads have the labels of the first checkpoint and temperature 1, because a temperature
    fitted for one of the checkpoints does not fit their average.

    Args:
        checkpoints: at least one, all with the same encoder and the same labels.

    Raises:
        CheckpointError: two of them differ in shape or in labels.
    """
    first, *others = checkpoints
    labels = {name: head.labels for name, head in first.heads.items()}
    for other in others:
        if {name: head.labels for name, head in other.heads.items()} != labels:
            raise CheckpointError(f"{other.name} has other labels than {first.name}.")
    model = first.model(torch.float32, ATTENTION)
    total = model.state_dict()
    for other in others:
        weights = other.model(torch.float32, ATTENTION).state_dict()
        if {name: tensor.shape for name, tensor in weights.items()} != {
            name: tensor.shape for name, tensor in total.items()
        }:
            raise CheckpointError(f"{other.name} has weights of other shapes than {first.name}.")
        # `state_dict` returns the model's own tensors, so adding in place changes the model.
        for name, tensor in weights.items():
            total[name] += tensor
    for tensor in total.values():
        tensor /= len(checkpoints)
    for name, head in first.heads.items():
        model.config.heads[name] = head.model_copy(update={"temperature": 1.0}).model_dump(
            mode="json"
        )
    return model


def save_average(folders: Sequence[Path], out: Path) -> Checkpoint:
    """Save the average of checkpoint folders, with the dtype and tokenizer of the first.

    Raises:
        CheckpointError: `out` exists already, a folder is damaged, or the checkpoints have
            different labels, shapes or tokenizers.
    """
    require_empty_target(out)
    checkpoints = [open_checkpoint(folder) for folder in folders]
    tokenizers = {(checkpoint.path / TOKENIZER).read_bytes() for checkpoint in checkpoints}
    if len(tokenizers) > 1:
        raise CheckpointError("The checkpoints have different tokenizers.")
    first = checkpoints[0]
    model = average_weights(checkpoints).to(first.config.dtype)
    files = {name: (first.path / name).read_bytes() for name in (TOKENIZER, TOKENIZER_CONFIG)}
    parts = [f"- {part.name}, revision {part.revision}" for part in checkpoints]
    card = "\n".join([f"# {out.name}", "", "The average of the weights of:", "", *parts, ""])
    revisions = [checkpoint.revision for checkpoint in checkpoints]
    return save_checkpoint(out, model, files, {"average_of": revisions}, card)
