"""Brings in a state dict of an encoder with two linear heads that was trained elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from app.core.errors import CheckpointError
from app.core.head_labels import HEADS
from app.core.label_files import read_labels
from app.model.base_encoder import base_name, open_base
from app.model.checkpoint import Checkpoint, refuse_taken, save_checkpoint
from app.model.classifier import TwoHeadClassifier

StateDict = Mapping[str, Tensor]

# Kept with the weights by older libraries; the encoder makes them anew.
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")
# What a state dict is wrapped in by those who save more than it.
_WRAPPERS = ("state_dict", "model_state_dict")


@dataclass(frozen=True)
class Prefixes:
    """What the names of the foreign tensors begin with."""

    encoder: str = "bert."
    job_category: str = "classifier_job_type."
    min_education: str = "classifier_edu_level."

    def translate(self, name: str) -> str | None:
        """Return our name of a foreign tensor, or None where it has no place here."""
        for head in HEADS:
            prefix = getattr(self, head)
            if name.startswith(prefix):
                return f"{head}.{name.removeprefix(prefix)}"
        if not name.startswith(self.encoder):
            return None
        rest = name.removeprefix(self.encoder)
        return rest if rest.startswith("pooler.dense.") else f"encoder.{rest}"

    def original(self, name: str) -> str:
        """Return the foreign name of one of our tensors: the other way of `translate`."""
        part, _, rest = name.partition(".")
        if part in HEADS:
            return f"{getattr(self, part)}{rest}"
        return f"{self.encoder}{rest if part == 'encoder' else name}"


def import_checkpoint(
    state_dict: Path,
    base: str,
    labels: Path,
    out: Path,
    prefixes: Prefixes,
    max_length: int | None = None,
) -> Checkpoint:
    """Save a foreign state dict as a checkpoint that answers as its original did.

    Args:
        state_dict: safetensors, or a pickle that is read with weights only.
        base: the base encoder it was trained from; gives configuration and tokenizer.
        labels: the label file; label *i* of a head belongs to row *i* of its weights.
        out: the folder to make.
        prefixes: of the tensors' names.
        max_length: tokens of a window.

    Raises:
        StartupError: something does not fit, in one sentence.
    """
    refuse_taken(out)
    heads = read_labels(labels)
    tensors = read_state_dict(state_dict)
    opened = open_base(base)
    window = opened.window(max_length)
    model = TwoHeadClassifier.from_encoder(opened.blank(), heads, max_length=window)
    ours = _fit(tensors, model, prefixes, state_dict)
    model.load_state_dict(ours)
    model.to(_dtype(ours))
    return save_checkpoint(
        out, model, opened.tokenizer_files, {"note": "imported, not measured"}, _card(out, base)
    )


def read_state_dict(path: Path) -> StateDict:
    """Read tensors by name.

    Raises:
        CheckpointError: the file is missing, damaged, or holds something else.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no file {path}.")
    try:
        content: Any
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file.") from error
    # torch reports a foreign file by whatever its parts stumble over.
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read as a state dict with weights only; save it with "
            "torch.save(model.state_dict(), ...) or as safetensors."
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{path} holds no state dict.")
    tensors: dict[str, Tensor] = content
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise CheckpointError(f"{path} holds no tensor under '{name}'.")
    return tensors


def _fit(
    tensors: StateDict, model: TwoHeadClassifier, prefixes: Prefixes, path: Path
) -> dict[str, Tensor]:
    """Give the tensors our names and compare them with what the model has."""
    expected = model.state_dict()
    ours: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        translated = prefixes.translate(name)
        if translated is not None and translated in expected:
            ours[translated] = tensor
        elif not name.endswith(_BUFFERS):
            raise CheckpointError(
                f"{path} has a foreign tensor '{name}'; are the base and the prefixes right?"
            )
    for name, tensor in expected.items():
        original = prefixes.original(name)
        if name not in ours:
            raise CheckpointError(
                f"{path} has no tensor '{original}'; are the base and the prefixes right?"
            )
        if ours[name].shape == tensor.shape:
            continue
        found, head = tuple(ours[name].shape), name.partition(".")[0]
        if head in HEADS and found[:1] != tensor.shape[:1]:
            raise CheckpointError(
                f"{path}: '{original}' is {(*found, 0)[0]} wide, "
                f"but the label file has {tensor.shape[0]} labels for {head}."
            )
        raise CheckpointError(
            f"{path}: '{original}' is of shape {found}, but the base asks for "
            f"{tuple(tensor.shape)}."
        )
    return ours


def _dtype(tensors: StateDict) -> torch.dtype:
    """Return the one dtype that all tensors have, float32 where they differ."""
    dtypes = {tensor.dtype for tensor in tensors.values()}
    return dtypes.pop() if len(dtypes) == 1 else torch.float32


def _card(out: Path, base: str) -> str:
    return (
        f"# {out.name}\n\n"
        "Tells a job ad's category and the minimum education it asks for, in one encoder pass.\n\n"
        f"Imported from a state dict trained elsewhere, on the base encoder {base_name(base)}. "
        "Its quality was not measured: `doppelkopf evaluate` does that.\n"
    )
