"""An engine without a model, whose batches run one by one when a test releases them."""

import asyncio
import threading
from collections.abc import Callable

import numpy as np

from app.core.errors import EngineError
from app.core.types import EncodedAd, Scores


def encoded_ad(tokens: int = 10) -> EncodedAd:
    """Return an ad of one window of zeros."""
    return EncodedAd((np.zeros(tokens, dtype=np.int32),))


def score(encoded: EncodedAd) -> Scores:
    """Return scores that tell the ad's number of tokens."""
    return Scores({"job_category": np.array([encoded.tokens], dtype=np.float32)})


class StepEngine:
    """Runs a batch when a test releases it, with the outcome that the test chooses."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.outcome: Callable[[list[EncodedAd]], list[Scores | EngineError]] = lambda batch: [
            score(item) for item in batch
        ]
        self._go = threading.Semaphore(0)
        self._began = threading.Semaphore(0)

    def run(self, batch):
        self.batches.append([item.tokens for item in batch])
        self._began.release()
        self._go.acquire()
        return self.outcome(batch)

    def release(self, batches: int = 1) -> None:
        self._go.release(batches)

    async def began(self) -> None:
        """Wait until one more batch has started."""
        assert await asyncio.to_thread(self._began.acquire, timeout=10)
