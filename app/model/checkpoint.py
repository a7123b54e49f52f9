"""Opens and saves checkpoint folders.

A checkpoint folder holds `config.json`, `model.safetensors`, `tokenizer.json`,
`tokenizer_config.json`, `metrics.json` and `README.md` (the model card). Weights are read from
safetensors only: no pickle is loaded and no remote code is executed.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from app.core.errors import CheckpointError
from app.core.head_labels import Head
from app.model.checkpoint_verification import (
    CARD,
    CONFIG,
    METRICS,
    TOKENIZER,
    TOKENIZER_CONFIG,
    WEIGHTS,
    read_config,
    read_json,
    verify_files,
    verify_tokenizer,
    verify_weights,
)
from app.model.classifier import TwoHeadClassifier, TwoHeadConfig
from app.text.tokenization import AdTokenizer, SpecialTokens


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint folder; `model` loads its weights."""

    path: Path
    config: TwoHeadConfig
    heads: Mapping[str, Head]
    special: SpecialTokens
    parameters: int
    revision: str
    metrics: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The folder's name, which is part of every answer."""
        return self.path.name

    def tokenizer(self, max_windows: int = 4) -> AdTokenizer:
        """Return a new tokenizer that cuts ads into at most `max_windows` windows."""
        return AdTokenizer(
            Tokenizer.from_file(str(self.path / TOKENIZER)),
            self.special,
            self.config.max_length,
            max_windows,
        )

    def model(self, dtype: torch.dtype, attention: str) -> TwoHeadClassifier:
        """Load the weights on the CPU, in evaluation mode.

        Args:
            dtype: of the weights, whatever they were saved in.
            attention: name of an attention registered with transformers: "sdpa" or `PACKED`.
        """
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
    """Verify a checkpoint folder and describe it.

    Raises:
        CheckpointError: a file is missing or invalid; the message names it and the fault.
    """
    # Resolved, so that a folder given as `.` has a name too.
    path = Path(folder).resolve()
    verify_files(path, str(folder))
    config, heads = read_config(path / CONFIG)
    parameters = verify_weights(path / WEIGHTS, config)
    special = verify_tokenizer(path, config)
    return Checkpoint(
        path=path,
        config=config,
        heads=heads,
        special=special,
        parameters=parameters,
        revision=compute_revision(path),
        metrics=read_json(path / METRICS),
    )


def save_checkpoint(
    folder: Path,
    model: TwoHeadClassifier,
    tokenizer_files: Mapping[str, bytes],
    metrics: Mapping[str, Any],
    card: str,
) -> Checkpoint:
    """Write a checkpoint to a temporary folder, verify it, then rename it to `folder`.

    So there is either a complete checkpoint or none at `folder`.

    Args:
        folder: must not exist, or be empty.
        model: saved in its own dtype.
        tokenizer_files: the bytes of `tokenizer.json` and `tokenizer_config.json`.
        metrics: the content of `metrics.json`.
        card: the text of the model card.

    Raises:
        CheckpointError: `folder` is not empty, or the files written are no valid checkpoint.
    """
    require_empty_target(folder)
    # Resolved, because neither `.` nor a link to an empty folder can be the target of a rename.
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    # The library lets only the owner read the weights, but a server may run as another user.
    (partial / WEIGHTS).chmod((partial / CONFIG).stat().st_mode)
    for name in (TOKENIZER, TOKENIZER_CONFIG):
        (partial / name).write_bytes(tokenizer_files[name])
    (partial / METRICS).write_text(
        json.dumps(metrics, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (partial / CARD).write_text(card, encoding="utf-8")
    verified = open_checkpoint(partial)
    if folder.exists():
        folder.rmdir()
    partial.rename(folder)
    return replace(verified, path=folder)


def require_empty_target(folder: Path) -> None:
    """Check, before any work, that saving to `folder` would overwrite nothing.

    Raises:
        CheckpointError: `folder` exists and is not an empty folder.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise CheckpointError(f"{folder} exists already; choose another folder or remove it.")


def compute_revision(path: Path) -> str:
    """Return the first 8 hex digits of a SHA-256 over the files that determine the answers."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_CONFIG):
        with (path / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:8]
