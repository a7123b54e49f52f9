"""From settings to what answers: the checkpoint loaded, its engine warm, a batcher before it."""

import os
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.admission import House
from app.batching import MicroBatcher
from app.errors import FatalEngineError
from app.ledger import Ledger
from app.metrics import Metrics
from app.records import Ad, Encoded
from app.served import ServedModel
from app.settings import Settings
from app.tokenization import AdTokenizer

if TYPE_CHECKING:
    from app.engine import Engine

ENGINE = "app.engine:Engine"
"""What computes, by name: importing it takes seconds, which a process spends when it lives."""


@dataclass(frozen=True)
class Loaded:
    """A checkpoint that is ready to answer: `rate` in tokens a second."""

    engine: "Engine"
    tokenizer: AdTokenizer
    model: ServedModel
    max_batch_tokens: int
    rate: float

    def batcher(
        self,
        settings: Settings,
        metrics: Metrics,
        on_fatal: Callable[[FatalEngineError], None],
        house: House | None = None,
        ledger: Ledger | None = None,
    ) -> MicroBatcher:
        """Put a batcher of this event loop before the engine; `house` of the one it succeeds."""
        return MicroBatcher(
            self.engine.run,
            max_batch_tokens=self.max_batch_tokens,
            max_queued_ads=settings.max_queued_ads,
            max_queue_seconds=settings.max_queue_seconds,
            tokens_per_second=self.rate,
            metrics=metrics,
            ledger=ledger,
            house=house,
            free=self.engine.close,
            # A device of its own computes while the CPU packs; a CPU would compete with itself.
            depth=1 if self.engine.device.type == "cpu" else 2,
            hang_seconds=settings.hang_seconds,
            on_fatal=on_fatal,
        )


def load(settings: Settings, engine: str = ENGINE) -> Loaded:
    """Verify and load the checkpoint, and warm its engine up; takes seconds.

    Args:
        settings: what to load and how.
        engine: the name of what computes; called as `Engine` is.

    Raises:
        StartupError: the checkpoint, the device or a limit does not fit.
    """
    # Imported here, in a thread: the process listens and answers probes meanwhile.
    import torch
    from transformers.utils.logging import disable_progress_bar

    from app.checkpoint import open_checkpoint

    disable_progress_bar()
    torch.set_num_threads(settings.threads or available_cores())
    checkpoint = open_checkpoint(settings.model)
    tokenizer = checkpoint.tokenizer(settings.max_windows)
    made: Engine = pkgutil.resolve_name(engine)(checkpoint, settings.device, settings.dtype)
    max_batch_tokens = settings.max_batch_tokens or made.batch_tokens
    rate = made.warm_up(largest_batch(tokenizer, max_batch_tokens))
    model = ServedModel(
        name=checkpoint.name,
        revision=checkpoint.revision,
        device=str(made.device),
        dtype=made.dtype,
        heads=checkpoint.heads,
        parameters=checkpoint.parameters,
        max_length=tokenizer.max_length,
        max_windows=tokenizer.max_windows,
    )
    return Loaded(made, tokenizer, model, max_batch_tokens, rate)


def identify(model: Path) -> tuple[str, str]:
    """Verify a checkpoint and return its name and revision.

    Raises:
        CheckpointError: it is damaged.
    """
    from app.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(model)
    return checkpoint.name, checkpoint.revision


def largest_batch(tokenizer: AdTokenizer, max_batch_tokens: int) -> list[Encoded]:
    """Return as many of the longest ads as one batch may hold, for the warm-up."""
    longest = tokenizer.encode([Ad("Stelle " * tokenizer.longest)])[0]
    return [longest] * max(1, max_batch_tokens // longest.tokens)


def available_cores() -> int:
    """Return the cores this process may use: its affinity, less a container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(cores or 1, int(quota) // int(period)))
    except (OSError, ValueError):  # no such limit here
        return cores or 1
