"""The average of checkpoints fine-tuned from the same base: one model, no slower than one.

Runs that differ in their data or their learning rate end in one valley of the loss; the mean of
their weights lies nearer its middle and holds better on texts unlike those trained on (Wortsman et
al. 2022, "Model soups").
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from app.core.errors import CheckpointError
from app.model.checkpoint import Checkpoint, open_checkpoint, refuse_taken, save_checkpoint
from app.model.checkpoint_verification import TOKENIZER, TOKENIZER_CONFIG
from app.model.classifier import TwoHeadClassifier

ATTENTION = "sdpa"


def average(checkpoints: Sequence[Checkpoint]) -> TwoHeadClassifier:
    """Return a float32 model whose every weight is the mean of the checkpoints'.

    Its heads are those of the first, with a temperature of 1: what fitted one does not fit all.

    Args:
        checkpoints: at least one; of the same encoder and the same labels.

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
            raise CheckpointError(f"{other.name} is of another shape than {first.name}.")
        # The state's tensors are the model's own, so adding in place changes the model.
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
    """Save the average of checkpoint folders, in the dtype and with the tokenizer of the first.

    Raises:
        CheckpointError: `out` is taken, a folder is damaged, or two of them do not fit together.
    """
    refuse_taken(out)
    checkpoints = [open_checkpoint(folder) for folder in folders]
    tokenizers = {(checkpoint.path / TOKENIZER).read_bytes() for checkpoint in checkpoints}
    if len(tokenizers) > 1:
        raise CheckpointError("The checkpoints have different tokenizers.")
    first = checkpoints[0]
    model = average(checkpoints).to(first.config.dtype)
    files = {name: (first.path / name).read_bytes() for name in (TOKENIZER, TOKENIZER_CONFIG)}
    parts = [f"- {one.name}, revision {one.revision}" for one in checkpoints]
    card = "\n".join([f"# {out.name}", "", "The average of the weights of:", "", *parts, ""])
    revisions = [checkpoint.revision for checkpoint in checkpoints]
    return save_checkpoint(out, model, files, {"average_of": revisions}, card)
