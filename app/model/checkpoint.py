"""A checkpoint folder: saved whole or not at all, verified before it is trusted, loaded, described.

The folder holds `config.json`, `model.safetensors`, `tokenizer.json`, `tokenizer_config.json`,
`metrics.json` and `README.md`, its card. Only safetensors are read: no pickles, no remote code.
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
        revision=revision(path),
        metrics=read_json(path / METRICS),
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
    # The library writes weights for their owner alone; a server runs as another user.
    (beside / WEIGHTS).chmod((beside / CONFIG).stat().st_mode)
    for name in (TOKENIZER, TOKENIZER_CONFIG):
        (beside / name).write_bytes(tokenizer_files[name])
    (beside / METRICS).write_text(
        json.dumps(metrics, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (beside / CARD).write_text(card, encoding="utf-8")
    verified = open_checkpoint(beside)
    if folder.exists():
        folder.rmdir()
    beside.rename(folder)
    return replace(verified, path=folder)


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
