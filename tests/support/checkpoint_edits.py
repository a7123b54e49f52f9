"""Changes files of a checkpoint folder in place."""

import json
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file

from app.model.checkpoint_verification import WEIGHTS


def edit_json(path: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def edit_weights(folder: Path, change: Callable[[dict], None]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
