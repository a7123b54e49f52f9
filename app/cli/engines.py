"""Loads the engine for commands that compute predictions themselves."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.engine.engine import Engine
    from app.model.checkpoint import Checkpoint


def load_engine(
    checkpoint: "Checkpoint", device: str, dtype: str, batch_tokens: int | None = None
) -> tuple["Engine", int]:
    """Return a warmed-up engine and the tokens of its batches.

    Args:
        checkpoint: whose weights it loads.
        device: auto, cpu, cuda or cuda:N.
        dtype: auto, float32, float16, bfloat16 or int8.
        batch_tokens: tokens per forward pass; None for the device's default.

    Raises:
        StartupError: the device or dtype cannot be used, or the outputs are not finite.
    """
    from app.core.types import Ad
    from app.engine.engine import Engine

    engine = Engine(checkpoint, device, dtype)
    engine.warm_up(checkpoint.tokenizer().encode([Ad("a")]))
    return engine, batch_tokens or engine.batch_tokens
