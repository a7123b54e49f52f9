"""From settings to what answers: the checkpoint loaded, its engine warm, a batcher before it."""

import os
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.errors import FatalEngineError
from app.core.served_model import ServedModel
from app.core.types import Ad, Encoded, ModelName
from app.serving.metrics import Metrics
from app.serving.process import frozen_gc
from app.serving.scheduling.admission import AdmissionController
from app.serving.scheduling.micro_batcher import MicroBatcher
from app.serving.scheduling.shared_counters import SharedCounters
from app.serving.settings import Settings
from app.text.tokenization import AdTokenizer

if TYPE_CHECKING:
    from app.engine.engine import Engine

ENGINE = "app.engine:Engine"
"""What computes, by name: importing it takes seconds, which a process spends when it lives."""

NOT_NEEDED_FOR_SERVING = (
    "accelerate",
    "matplotlib",
    "pandas",
    "PIL",
    "pyarrow",
    "scipy",
    "sklearn",
    "trio",
)
"""What serving does not need, of training and tests, and other libraries import where they find it.
"""


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
        house: AdmissionController | None = None,
        ledger: SharedCounters | None = None,
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
            admission=house,
            close_engine=self.engine.close,
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
    make = _imported(engine)
    import torch

    from app.model.checkpoint import open_checkpoint

    torch.set_num_threads(settings.threads or available_cores())
    checkpoint = open_checkpoint(settings.model)
    tokenizer = checkpoint.tokenizer(settings.max_windows)
    made = make(checkpoint, settings.device, settings.dtype)
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


@cache
def _imported(engine: str) -> "type[Engine]":
    """Import what computes, here in a thread: the process listens and answers probes meanwhile."""
    with frozen_gc(), hidden_modules(NOT_NEEDED_FOR_SERVING):
        found: type[Engine] = pkgutil.resolve_name(engine)
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    return found


@contextmanager
def hidden_modules(libraries: Sequence[str]) -> Iterator[None]:
    """Let libraries that are not loaded yet look as if they were not installed."""
    hidden = [name for name in libraries if name not in sys.modules]
    # What Python itself takes for "not there" (The import system, 5.3.1, "The module cache").
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is what it is about
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def identify(model: Path) -> ModelName:
    """Verify a checkpoint and name it.

    Raises:
        CheckpointError: it is damaged.
    """
    from app.model.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(model)
    return ModelName(checkpoint.name, checkpoint.revision)


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
