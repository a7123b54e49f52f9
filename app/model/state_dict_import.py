"""Imports a state dict of an encoder with two linear heads, trained elsewhere, as a checkpoint."""

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
from app.model.base_encoder import base_name, open_base_encoder
from app.model.checkpoint import Checkpoint, require_empty_target, save_checkpoint
from app.model.classifier import TwoHeadClassifier

StateDict = Mapping[str, Tensor]

# Buffers that older libraries save with the weights; the encoder computes them itself.
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")
# Keys of the state dict in files that hold more, such as an optimizer's state.
_WRAPPERS = ("state_dict", "model_state_dict")


@dataclass(frozen=True)
class Prefixes:
    """The prefixes of tensor names in the state dict to import, one for each part of the model."""

    encoder: str = "bert."
    job_category: str = "classifier_job_type."
    min_education: str = "classifier_edu_level."

    def translate(self, name: str) -> str | None:
        """Return this project's name of a tensor to import, or None if no prefix matches."""
        for head in HEADS:
            prefix = getattr(self, head)
            if name.startswith(prefix):
                return f"{head}.{name.removeprefix(prefix)}"
        if not name.startswith(self.encoder):
            return None
        rest = name.removeprefix(self.encoder)
        return rest if rest.startswith("pooler.dense.") else f"encoder.{rest}"

    def original(self, name: str) -> str:
        """Return the name in the imported state dict of one of this project's tensors."""
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
    """Save a state dict as a checkpoint that gives the same logits as the original model.

    Args:
        state_dict: a safetensors file, or a pickle, which is read with `weights_only`.
        base: the base encoder the model was trained from; gives configuration and tokenizer.
        labels: the label file; label *i* of a head belongs to row *i* of its weights.
        out: the folder to create.
        prefixes: of the tensors' names.
        max_length: tokens of a window; None for the base encoder's default.

    Raises:
        StartupError: a file is unreadable, or base, labels and tensors do not fit together.
    """
    require_empty_target(out)
    heads = read_labels(labels)
    tensors = read_state_dict(state_dict)
    base_encoder = open_base_encoder(base)
    window = base_encoder.window(max_length)
    encoder = base_encoder.untrained_encoder()
    model = TwoHeadClassifier.from_encoder(encoder, heads, max_length=window)
    renamed = _rename_and_check(tensors, model, prefixes, state_dict)
    model.load_state_dict(renamed)
    model.to(_common_dtype(renamed))
    metrics = {"note": "imported, not measured"}
    return save_checkpoint(out, model, base_encoder.tokenizer_files, metrics, _card(out, base))


def read_state_dict(path: Path) -> StateDict:
    """Return the tensors of a state dict file by name.

    Raises:
        CheckpointError: the file is missing, damaged, or no state dict.
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
    # torch raises many kinds of errors for files of other formats.
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


def _rename_and_check(
    tensors: StateDict, model: TwoHeadClassifier, prefixes: Prefixes, path: Path
) -> dict[str, Tensor]:
    """Return the tensors under the model's names, after comparing names and shapes."""
    expected = model.state_dict()
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        translated = prefixes.translate(name)
        if translated is not None and translated in expected:
            renamed[translated] = tensor
        elif not name.endswith(_BUFFERS):
            raise CheckpointError(
                f"{path} has a foreign tensor '{name}'; are the base and the prefixes right?"
            )
    for name, tensor in expected.items():
        original = prefixes.original(name)
        if name not in renamed:
            raise CheckpointError(
                f"{path} has no tensor '{original}'; are the base and the prefixes right?"
            )
        if renamed[name].shape == tensor.shape:
            continue
        found, head = tuple(renamed[name].shape), name.partition(".")[0]
        if head in HEADS and found[:1] != tensor.shape[:1]:
            raise CheckpointError(
                f"{path}: '{original}' is {(*found, 0)[0]} wide, "
                f"but the label file has {tensor.shape[0]} labels for {head}."
            )
        raise CheckpointError(
            f"{path}: '{original}' is of shape {found}, but the base needs {tuple(tensor.shape)}."
        )
    return renamed


def _common_dtype(tensors: StateDict) -> torch.dtype:
    """Return the dtype of all tensors, or float32 if they differ."""
    dtypes = {tensor.dtype for tensor in tensors.values()}
    return dtypes.pop() if len(dtypes) == 1 else torch.float32


def _card(out: Path, base: str) -> str:
    return (
        f"# {out.name}\n\n"
        "Tells a job ad's category and the minimum education it asks for, in one encoder pass.\n\n"
        f"Imported from a state dict trained elsewhere, on the base encoder {base_name(base)}. "
        "Its quality was not measured: `doppelkopf evaluate` does that.\n"
    )
