"""Folders and files that tests read: the repository, its demo checkpoint, and the shared folder."""

import json
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The root of the repository."""

DEMO = ROOT / "model_store" / "demo"
"""The demo checkpoint, which is part of the repository."""

SHARED = ROOT.parent / "shared"
"""Real ads and occupation data in a folder next to the repository, which may be missing."""


def shared_ads(count: int) -> Sequence[dict[str, str]] | None:
    """Read the first real ads of the shared folder; None if it is missing."""
    file = SHARED / "data" / "ads.jsonl"
    if not file.is_file():
        return None
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for _, line in zip(range(count), lines, strict=False)]
