"""Folders that tests read: the repository, its demo checkpoint, and the shared folder beside it."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The root of the repository."""

DEMO = ROOT / "model_store" / "demo"
"""The demo checkpoint, which is part of the repository."""

SHARED = ROOT.parent / "shared"
"""Real ads and occupation data; beside the repository where they are at hand, never in it."""
