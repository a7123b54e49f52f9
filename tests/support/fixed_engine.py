"""An engine that takes a fixed time for each token and answers by the ad's length.

    python -m tests.support.serve_with_engine tests.support.fixed_engine:FixedEngine SECONDS_A_TOKEN

What is measured through it is the service's, never the machine's cores.
"""

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from app.core.types import EncodedAd, Scores
from app.engine.engine import Engine
from tests.support.serve_with_engine import OPTIONS


class FixedEngine(Engine):
    """Sleeps; the label of each head has the number of the ad's tokens, modulo its labels."""

    def __init__(self, checkpoint: Any, *args: Any) -> None:
        self.seconds = float(os.environ[OPTIONS])
        self.counts = [(name, len(head.labels)) for name, head in checkpoint.heads.items()]
        super().__init__(checkpoint, *args)

    def run(self, batch: Sequence[EncodedAd]) -> list[Scores]:
        time.sleep(self.seconds * sum(one.tokens for one in batch))
        return [
            Scores({name: _certain(one.tokens % count, count) for name, count in self.counts})
            for one in batch
        ]


def _certain(place: int, count: int) -> Any:
    return np.eye(count, dtype=np.float32)[place]
