"""Loading: from the settings to a verified checkpoint, a warm engine and its batcher."""

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
from app.core.types import Ad, EncodedAd, ModelIdentity
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
"""The engine's class. By name, because a process has to answer health probes before it imports it,
which takes seconds."""

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
"""Libraries for training and tests, which other libraries import if they are installed."""


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A loaded checkpoint with its warm engine; `rate` is in tokens a second."""

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
        admission: AdmissionController | None = None,
        counters: SharedCounters | None = None,
    ) -> MicroBatcher:
        """Return a batcher for the engine, in this event loop.

        Args:
            settings: the limits.
            metrics: where batches, waiting times and refusals are recorded.
            on_fatal: called once the engine is lost.
            admission: the controller of the batcher that it replaces, if any.
            counters: what is admitted, if several processes share it.
        """
        return MicroBatcher(
            self.engine.run,
            max_batch_tokens=self.max_batch_tokens,
            max_queued_ads=settings.max_queued_ads,
            max_queue_seconds=settings.max_queue_seconds,
            tokens_per_second=self.rate,
            metrics=metrics,
            counters=counters,
            admission=admission,
            close_engine=self.engine.close,
            # The CPU packs a second batch while a GPU computes; without a GPU both need the CPU.
            depth=1 if self.engine.device.type == "cpu" else 2,
            hang_seconds=settings.hang_seconds,
            on_fatal=on_fatal,
        )


def load_checkpoint(settings: Settings, engine: str = ENGINE) -> LoadedCheckpoint:
    """Verify and load a checkpoint and warm up its engine; takes seconds.

    Args:
        settings: the checkpoint, the device and the limits.
        engine: the name of a class that is called as `app.engine.Engine` is.

    Raises:
        StartupError: the checkpoint is damaged, or the device or a limit does not fit it.
    """
    engine_class = _import_engine(engine)
    import torch

    from app.model.checkpoint import open_checkpoint

    torch.set_num_threads(settings.threads or available_cores())
    checkpoint = open_checkpoint(settings.model)
    tokenizer = checkpoint.tokenizer(settings.max_windows)
    loaded_engine = engine_class(checkpoint, settings.device, settings.dtype)
    max_batch_tokens = settings.max_batch_tokens or loaded_engine.batch_tokens
    rate = loaded_engine.warm_up(largest_batch(tokenizer, max_batch_tokens))
    model = ServedModel(
        name=checkpoint.name,
        revision=checkpoint.revision,
        device=str(loaded_engine.device),
        dtype=loaded_engine.dtype,
        heads=checkpoint.heads,
        parameters=checkpoint.parameters,
        max_length=tokenizer.max_length,
        max_windows=tokenizer.max_windows,
    )
    return LoadedCheckpoint(loaded_engine, tokenizer, model, max_batch_tokens, rate)


@cache
def _import_engine(engine: str) -> "type[Engine]":
    """Import the engine's class; in a thread, while the process answers health probes."""
    with frozen_gc(), hidden_modules(NOT_NEEDED_FOR_SERVING):
        found: type[Engine] = pkgutil.resolve_name(engine)
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    return found


@contextmanager
def hidden_modules(libraries: Sequence[str]) -> Iterator[None]:
    """Make libraries look as if they were not installed, except those that are loaded already."""
    hidden = [name for name in libraries if name not in sys.modules]
    # None makes an import fail (Python's language reference, 5.3.1, "The module cache").
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # typed without None
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def identify_checkpoint(model: Path) -> ModelIdentity:
    """Verify a checkpoint and return its name and revision.

    Raises:
        CheckpointError: the checkpoint is damaged.
    """
    from app.model.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(model)
    return ModelIdentity(checkpoint.name, checkpoint.revision)


def largest_batch(tokenizer: AdTokenizer, max_batch_tokens: int) -> list[EncodedAd]:
    """Return a full batch of the longest ads, for the warm-up; at least one ad."""
    longest = tokenizer.encode([Ad("Stelle " * tokenizer.max_ad_tokens)])[0]
    return [longest] * max(1, max_batch_tokens // longest.tokens)


def available_cores() -> int:
    """Return how many cores this process may use: its affinity, limited by a container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(cores or 1, int(quota) // int(period)))
    except (OSError, ValueError):  # no such limit here
        return cores or 1
