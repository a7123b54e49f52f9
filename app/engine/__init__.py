"""One packed forward pass on one device."""

from app.engine.engine import Engine

__all__ = ["Engine"]
