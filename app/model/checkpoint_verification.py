"""Verifies a checkpoint folder: all its files are checked before any weights are loaded."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from transformers import CONFIG_MAPPING

from app.core.errors import CheckpointError
from app.core.head_labels import HEADS, Head
from app.model.classifier import ENCODERS, TwoHeadClassifier, TwoHeadConfig
from app.text.tokenization import SMALLEST_WINDOW, SpecialTokens

CONFIG, WEIGHTS, METRICS, CARD = "config.json", "model.safetensors", "metrics.json", "README.md"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
FILES = (CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_CONFIG, METRICS, CARD)

# Quantized integers would load without an error and give wrong answers. In order, for the message.
FLOAT_TYPES = dict.fromkeys(("F16", "BF16", "F32", "F64"))
UNKNOWN_CHARACTER = "𓀀"
"""A character that no vocabulary of a European language contains."""


def verify_files(path: Path, name: str) -> None:
    """Check that the folder has all files of a checkpoint and that this user may read them.

    Args:
        path: the folder.
        name: the folder as the user wrote it, for messages.

    Raises:
        CheckpointError: the folder or a file is missing, or a file is not readable.
    """
    if not path.is_dir():
        raise CheckpointError(f"There is no checkpoint folder {name}.")
    for file in FILES:
        if not (path / file).is_file():
            raise CheckpointError(f"The checkpoint {name} has no file {file}.")
        if not os.access(path / file, os.R_OK):
            raise CheckpointError(f"The checkpoint {name} has a file {file} this user cannot read.")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        CheckpointError: the file is unreadable, or not a JSON object in UTF-8.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON in UTF-8.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} has to hold a JSON object.")
    return content


def read_config(path: Path) -> tuple[TwoHeadConfig, dict[str, Head]]:
    """Return the model's configuration and its heads, both validated.

    Raises:
        CheckpointError: the configuration is malformed, or of an unsupported model.
    """
    content = read_json(path)
    if content.get("model_type") != TwoHeadConfig.model_type:
        raise CheckpointError(
            f"{path} describes a model of type '{content.get('model_type')}', "
            f"not '{TwoHeadConfig.model_type}'."
        )
    known = TwoHeadConfig().to_dict().keys() | {"architectures", "transformers_version", "dtype"}
    if foreign := sorted(content.keys() - known):
        raise CheckpointError(f"{path} has an unknown key '{foreign[0]}'.")
    encoder = content.get("encoder")
    kind = encoder.get("model_type") if isinstance(encoder, dict) else None
    if kind not in ENCODERS or kind not in CONFIG_MAPPING:
        raise CheckpointError(
            f"{path} has an encoder of type '{kind}'; supported are {', '.join(ENCODERS)}."
        )
    try:
        config = TwoHeadConfig.from_dict(content)
        heads = config.parsed_heads()
        longest = config.longest_window()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise CheckpointError(
            f"{path} has a malformed head: {place + ': ' if place else ''}{message}."
        ) from error
    except Exception as error:
        raise CheckpointError(f"{path} cannot be read: {_one_line(error)}.") from error
    wanted = config.max_length
    if not (isinstance(wanted, int) and SMALLEST_WINDOW <= wanted <= longest):
        raise CheckpointError(
            f"{path} has windows of {wanted!r} tokens; "
            f"its encoder takes from {SMALLEST_WINDOW} to {longest}."
        )
    return config, heads


def verify_weights(path: Path, config: TwoHeadConfig) -> int:
    """Compare names, shapes and dtypes of the saved tensors with those the configuration needs.

    Only the header of the file is read.

    Returns:
        The number of parameters.

    Raises:
        CheckpointError: the file is damaged, or a tensor is missing, unknown or of a wrong shape.
    """
    expected, found = _expected_shapes(path.with_name(CONFIG), config), _saved_shapes(path)
    if missing := sorted(expected.keys() - found.keys()):
        raise CheckpointError(f"{path} has no tensor '{missing[0]}' ({len(missing)} are missing).")
    if foreign := sorted(found.keys() - expected.keys()):
        raise CheckpointError(
            f"{path} has a foreign tensor '{foreign[0]}' ({len(foreign)} are unknown)."
        )
    for name, shape in expected.items():
        if found[name] == shape:
            continue
        if name.split(".")[0] in HEADS:
            raise CheckpointError(
                f"{path}: the head '{name.split('.')[0]}' is {found[name][0]} wide, "
                f"but {CONFIG} has {shape[0]} labels for it."
            )
        raise CheckpointError(
            f"{path}: the tensor '{name}' is of shape {found[name]}, not {shape}."
        )
    return sum(torch.Size(shape).numel() for shape in found.values())


def _expected_shapes(path: Path, config: TwoHeadConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of the model that the configuration at `path` describes."""
    try:
        # On the meta device no memory is allocated.
        with torch.device("meta"):
            tensors = TwoHeadClassifier(config).state_dict()
    except Exception as error:
        raise CheckpointError(f"{path} describes no model: {_one_line(error)}.") from error
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _saved_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in a safetensors file, which may hold floats only."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  not a dict
            shapes = {name: tuple(tensor.get_shape()) for name, tensor in tensors.items()}
            types = {tensor.get_dtype() for tensor in tensors.values()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged or no safetensors file: {_one_line(error)}."
        ) from error
    if unsupported := sorted(types - FLOAT_TYPES.keys()):
        raise CheckpointError(
            f"{path} holds {unsupported[0]}; weights have to be {', '.join(FLOAT_TYPES)}."
        )
    return shapes


def verify_tokenizer(path: Path, config: TwoHeadConfig) -> SpecialTokens:
    """Return the ids of the tokenizer's special tokens, after checking that it fits the model.

    Raises:
        CheckpointError: a tokenizer file is invalid, has more pieces than the embedding, lacks a
            special token, or fails on unknown characters.
    """
    file = path / TOKENIZER
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:
        raise CheckpointError(f"{file} is not a tokenizer: {_one_line(error)}.") from error
    pieces = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    if pieces > config.encoder.vocab_size:
        raise CheckpointError(
            f"{file} has {pieces} pieces, but the embedding only {config.encoder.vocab_size}."
        )
    special = _special_tokens(path / TOKENIZER_CONFIG, tokenizer)
    try:
        tokenizer.encode(UNKNOWN_CHARACTER, add_special_tokens=False)
    except Exception as error:
        raise CheckpointError(
            f"{file} fails on a word that it does not know: {_one_line(error)}."
        ) from error
    return special


def _special_tokens(path: Path, tokenizer: Tokenizer) -> SpecialTokens:
    """Return the ids of the special tokens that the tokenizer configuration at `path` names."""
    content = read_json(path)
    ids = {}
    for role, fallback in (("cls_token", "bos_token"), ("sep_token", "eos_token")):
        token = content.get(role) or content.get(fallback)
        # Older libraries save a token as an object with its text and its stripping rules.
        text = token.get("content") if isinstance(token, dict) else token
        number = tokenizer.token_to_id(text) if isinstance(text, str) else None
        if number is None:
            raise CheckpointError(f"{path} names no {role} that {TOKENIZER} knows.")
        ids[role] = number
    return SpecialTokens(cls=ids["cls_token"], sep=ids["sep_token"])


def _one_line(error: Exception) -> str:
    # All lines, not only the first: transformers names the reason in the second.
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
