"""The checkpoints of a model store, each verified, as a table or as JSON."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from app.core.errors import CheckpointError
from app.core.head_labels import HEADS
from app.model.checkpoint import Checkpoint, open_checkpoint
from app.training.evaluation.display_names import HEAD_TITLES

MEASURES = ("accuracy", "macro_f1")


@dataclass(frozen=True)
class ListedCheckpoint:
    """A folder of the store.

    Of a damaged one only `name`, `bytes`, `problem` and `link` are known.
    """

    name: str
    bytes: int
    problem: str | None = None
    """Why it cannot be served, in one sentence; None for a sound checkpoint."""
    revision: str | None = None
    link: str | None = None
    """The target of the folder, if it is a symbolic link."""
    base: str | None = None
    languages: tuple[str, ...] = ()
    """Codes of the languages in which labels have display names."""
    labels: Mapping[str, int] = field(default_factory=dict)
    """Number of labels by head."""
    trained_at: str | None = None
    """ISO 8601 with offset; the weights file's time if the checkpoint records none."""
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The values of `MEASURES` by head, as far as they were measured."""


def list_checkpoints(store: Path) -> list[ListedCheckpoint]:
    """Verify every folder of a store that is not hidden; return them sorted by name.

    Raises:
        CheckpointError: the store is not a folder, or cannot be read.
    """
    try:
        folders = sorted(path for path in store.iterdir() if path.is_dir() or path.is_symlink())
    except OSError as error:
        raise CheckpointError(f"{store} cannot be listed: {error.strerror}.") from error
    return [_listed(folder) for folder in folders if not folder.name.startswith(".")]


def list_as_json(found: Sequence[ListedCheckpoint]) -> str:
    """Return the list as a JSON object with the key `checkpoints`."""
    return json.dumps({"checkpoints": [asdict(one) for one in found]}, indent=1, ensure_ascii=False)


def list_table(store: Path, found: Sequence[ListedCheckpoint]) -> Iterator[RenderableType]:
    """Yield a table of the list, then a line for each damaged folder."""
    if not found:
        yield f"There is no checkpoint in {escape(str(store))}."
        return
    table = Table(
        "name", "revision", "base", *(f"{HEAD_TITLES[head]}: labels, accuracy" for head in HEADS),
        "languages", "MB", "trained",
    )  # fmt: skip
    for one in found:
        heads = [_head(one, head) for head in HEADS]
        name = one.name if one.link is None else f"{one.name} -> {one.link}"
        cells = (
            name, "damaged" if one.problem else one.revision or "", one.base or "", *heads,
            " ".join(one.languages), f"{one.bytes / 1e6:.1f}", (one.trained_at or "")[:10],
        )  # fmt: skip
        table.add_row(*map(escape, cells))
    yield table
    for one in found:
        if one.problem:
            yield escape(f"{one.name}: {one.problem}")


def _head(one: ListedCheckpoint, head: str) -> str:
    accuracy = one.metrics.get(head, {}).get("accuracy")
    labels = str(one.labels.get(head, ""))
    return labels if accuracy is None else f"{labels}, {accuracy:.3f}"


def _listed(folder: Path) -> ListedCheckpoint:
    link = str(folder.readlink()) if folder.is_symlink() else None
    try:
        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        checkpoint = open_checkpoint(folder)
    except CheckpointError as error:
        return ListedCheckpoint(folder.name, size, str(error), link=link)
    except OSError as error:
        return ListedCheckpoint(
            folder.name, 0, f"{folder} cannot be read: {error.strerror}.", link=link
        )
    heads, metrics = checkpoint.heads, checkpoint.metrics
    return ListedCheckpoint(
        name=folder.name,
        bytes=size,
        revision=checkpoint.revision,
        link=link,
        base=_base(metrics),
        languages=tuple(sorted({language for head in heads.values() for language in head.names})),
        labels={name: len(heads[name].labels) for name in HEADS},
        trained_at=_trained_at(checkpoint),
        metrics={name: found for name in HEADS if (found := _measures(metrics.get(name)))},
    )


def _base(metrics: Mapping[str, Any]) -> str | None:
    """Return the last part of the `--base` in the training command, if there is one."""
    command = metrics.get("command")
    try:
        words = shlex.split(command) if isinstance(command, str) else []
    except ValueError:
        return None
    bases = [after for word, after in pairwise(words) if word == "--base"]
    return Path(bases[0]).name if bases else None


def _trained_at(checkpoint: Checkpoint) -> str:
    noted = checkpoint.metrics.get("trained_at")
    if isinstance(noted, str):
        return noted
    written = (checkpoint.path / "model.safetensors").stat().st_mtime
    return datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds")


def _measures(found: Any) -> dict[str, float]:
    values = found if isinstance(found, dict) else {}
    return {name: values[name] for name in MEASURES if isinstance(values.get(name), int | float)}
