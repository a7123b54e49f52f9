r"""An engine that sleeps a fixed time per token and answers by the ad's length.

    python -m tests.support.serve_with_engine \
        tests.support.fixed_time_engine:FixedTimeEngine SECONDS_A_TOKEN

It measures the service around the engine, independent of the machine's speed.
"""

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from app.core.types import EncodedAd, Scores
from app.engine.engine import Engine
from tests.support.serve_with_engine import OPTIONS


class FixedTimeEngine(Engine):
    """Predicts the label whose index is the ad's number of tokens modulo the head's labels."""

    def __init__(self, checkpoint: Any, *args: Any) -> None:
        self.seconds = float(os.environ[OPTIONS])
        self.counts = [(name, len(head.labels)) for name, head in checkpoint.heads.items()]
        super().__init__(checkpoint, *args)

    def run(self, batch: Sequence[EncodedAd]) -> list[Scores]:
        time.sleep(self.seconds * sum(one.tokens for one in batch))
        return [
            Scores({name: _one_hot(one.tokens % count, count) for name, count in self.counts})
            for one in batch
        ]


def _one_hot(index: int, count: int) -> Any:
    return np.eye(count, dtype=np.float32)[index]
