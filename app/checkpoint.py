"""A checkpoint folder: saved whole or not at all, verified before it is trusted, loaded, described.

The folder holds `config.json`, `model.safetensors`, `tokenizer.json`, `tokenizer_config.json`,
`metrics.json` and `README.md`, its card. Only safetensors are read: no pickles, no remote code.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from transformers import CONFIG_MAPPING

from app.errors import CheckpointError
from app.heads import HEADS, Head
from app.model import ENCODERS, TwoHeadClassifier, TwoHeadConfig
from app.tokenization import SMALLEST_WINDOW, AdTokenizer, SpecialTokens

CONFIG, WEIGHTS, METRICS, CARD = "config.json", "model.safetensors", "metrics.json", "README.md"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
FILES = (CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_CONFIG, METRICS, CARD)

# In order, for the message. Quantized integers would load without a word and answer nonsense.
FLOATS = dict.fromkeys(("F16", "BF16", "F32", "F64"))
# In no vocabulary of a European language: a tokenizer without a piece for the unknown fails on it.
UNHEARD_OF = "𓀀"


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint folder, its weights still on the disk."""

    path: Path
    config: TwoHeadConfig
    heads: Mapping[str, Head]
    special: SpecialTokens
    parameters: int
    revision: str
    metrics: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The folder's name, which answers carry."""
        return self.path.name

    def tokenizer(self, max_windows: int = 4) -> AdTokenizer:
        """Return a fresh tokenizer that cuts ads into this checkpoint's windows."""
        return AdTokenizer(
            Tokenizer.from_file(str(self.path / TOKENIZER)),
            self.special,
            self.config.max_length,
            max_windows,
        )

    def model(self, dtype: torch.dtype, attention: str) -> TwoHeadClassifier:
        """Load the weights on the CPU, in evaluation mode."""
        model: TwoHeadClassifier = TwoHeadClassifier.from_pretrained(
            self.path,
            dtype=dtype,
            attn_implementation=attention,
            local_files_only=True,
            use_safetensors=True,
        )
        model.eval()
        return model


def open_checkpoint(folder: Path | str) -> Checkpoint:
    """Verify a folder and return what it holds.

    Raises:
        CheckpointError: with one sentence that names the file and what is wrong with it.
    """
    # Resolved, so that a folder given as `.` has a name too.
    path = Path(folder).resolve()
    if not path.is_dir():
        raise CheckpointError(f"There is no checkpoint folder {folder}.")
    for name in FILES:
        if not (path / name).is_file():
            raise CheckpointError(f"The checkpoint {folder} has no file {name}.")
    config, heads = _read_config(path / CONFIG)
    parameters = _verify_weights(path / WEIGHTS, config)
    special = _verify_tokenizer(path, config)
    return Checkpoint(
        path=path,
        config=config,
        heads=heads,
        special=special,
        parameters=parameters,
        revision=revision(path),
        metrics=_read_json(path / METRICS),
    )


def save_checkpoint(
    folder: Path,
    model: TwoHeadClassifier,
    tokenizer_files: Mapping[str, bytes],
    metrics: Mapping[str, Any],
    card: str,
) -> Checkpoint:
    """Write a checkpoint beside `folder`, verify it, then rename it into place.

    Args:
        folder: must not exist, or be empty.
        model: saved in the dtype it has.
        tokenizer_files: the bytes of `tokenizer.json` and `tokenizer_config.json`.
        metrics: what was measured, as JSON can hold it.
        card: the text of the card.

    Raises:
        CheckpointError: the folder is taken, or what was written does not verify.
    """
    refuse_taken(folder)
    # Resolved, so that `.` and a link to an empty folder can be renamed onto.
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    model.save_pretrained(beside)
    for name in (TOKENIZER, TOKENIZER_CONFIG):
        (beside / name).write_bytes(tokenizer_files[name])
    (beside / METRICS).write_text(
        json.dumps(metrics, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (beside / CARD).write_text(card, encoding="utf-8")
    open_checkpoint(beside)
    if folder.exists():
        folder.rmdir()
    beside.rename(folder)
    return open_checkpoint(folder)


def refuse_taken(folder: Path) -> None:
    """Stop before work begins whose result would overwrite something.

    Raises:
        CheckpointError: `folder` exists and is not an empty folder.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise CheckpointError(f"{folder} exists already; choose another folder or remove it.")


def revision(path: Path) -> str:
    """Return the first 8 hex digits of a SHA-256 over what decides the answers."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_CONFIG):
        with (path / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:8]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON in UTF-8.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} has to hold a JSON object.")
    return content


def _read_config(path: Path) -> tuple[TwoHeadConfig, dict[str, Head]]:
    content = _read_json(path)
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
            f"{path} asks for windows of {wanted!r} tokens; "
            f"its encoder takes from {SMALLEST_WINDOW} to {longest}."
        )
    return config, heads


def _verify_weights(path: Path, config: TwoHeadConfig) -> int:
    """Compare names and shapes without reading the tensors; return the number of parameters."""
    try:
        with torch.device("meta"):
            expected = {
                name: tuple(tensor.shape)
                for name, tensor in TwoHeadClassifier(config).state_dict().items()
            }
    except Exception as error:
        raise CheckpointError(
            f"{path.with_name(CONFIG)} describes no model: {_one_line(error)}."
        ) from error
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  not a dict
            found = {name: tuple(tensor.get_shape()) for name, tensor in tensors.items()}
            types = {tensor.get_dtype() for tensor in tensors.values()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged or no safetensors file: {_one_line(error)}."
        ) from error
    if strange := sorted(types - FLOATS.keys()):
        raise CheckpointError(f"{path} holds {strange[0]}; weights have to be {', '.join(FLOATS)}.")
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


def _verify_tokenizer(path: Path, config: TwoHeadConfig) -> SpecialTokens:
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
    content = _read_json(path / TOKENIZER_CONFIG)
    ids = {}
    for role, fallback in (("cls_token", "bos_token"), ("sep_token", "eos_token")):
        token = content.get(role) or content.get(fallback)
        # Older libraries save a token as an object with its text and its stripping rules.
        text = token.get("content") if isinstance(token, dict) else token
        number = tokenizer.token_to_id(text) if isinstance(text, str) else None
        if number is None:
            raise CheckpointError(
                f"{path / TOKENIZER_CONFIG} names no {role} that {TOKENIZER} knows."
            )
        ids[role] = number
    try:
        tokenizer.encode(UNHEARD_OF, add_special_tokens=False)
    except Exception as error:
        raise CheckpointError(
            f"{file} fails on a word that it does not know: {_one_line(error)}."
        ) from error
    return SpecialTokens(cls=ids["cls_token"], sep=ids["sep_token"])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
