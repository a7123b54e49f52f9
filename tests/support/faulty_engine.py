r"""An engine that is slow and fails on demand, for a real server.

    python -m tests.support.serve_with_engine \
        tests.support.faulty_engine:FaultyEngine GATE SECONDS MEMORY

Every pass takes SECONDS longer and fails for lack of memory above MEMORY tokens. An ad with the
number of tokens of one of the constants below causes that fault: `text_of_tokens` makes one.
"""

import ctypes
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from app.core.types import EncodedAd, Scores
from app.engine.engine import Engine
from app.engine.packing import PackedBatch
from tests.support.serve_with_engine import OPTIONS

BROKEN = 11
"""The pass raises an error."""
NEVER_FITS = 12
"""The pass runs out of memory, also when the ad is alone."""
DEVICE_LOST = 13
"""The pass raises the error after which a device is unusable."""
HANGS = 14
"""The pass never returns."""
EXITS = 15
"""The pass raises `SystemExit`."""
KILLS_THREAD = 16
"""The pass succeeds; 0.2 s later its thread ends."""
HELD = 17
"""The pass waits until the file GATE exists."""


def text_of_tokens(tokens: int) -> str:
    """Return a text that makes one window of this many tokens, the two special ones included."""
    return "Koch " * (tokens - 2)


class FaultyEngine(Engine):
    """A real engine that causes the faults of this module."""

    def __init__(self, *args: Any) -> None:
        gate, seconds, memory = os.environ[OPTIONS].split()
        self.gate, self.seconds, self.memory = Path(gate), float(seconds), int(memory)
        super().__init__(*args)

    def run(self, batch: Sequence[EncodedAd]) -> list[Scores]:
        results = super().run(batch)
        if any(encoded.tokens == KILLS_THREAD for encoded in batch):
            # Later, so that the thread already waits for its next batch.
            threading.Timer(0.2, end_thread, [threading.get_ident()]).start()
        return results

    def _forward(self, packed: PackedBatch):
        time.sleep(self.seconds)
        lengths = packed.cu_seq_lens.diff().tolist()
        while HELD in lengths and not self.gate.exists():
            time.sleep(0.01)
        if sum(lengths) > self.memory or NEVER_FITS in lengths:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if BROKEN in lengths:
            raise RuntimeError("the inside of a failure")
        if DEVICE_LOST in lengths:
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")
        if HANGS in lengths:
            threading.Event().wait()
        if EXITS in lengths:
            raise SystemExit("ended from inside")
        return super()._forward(packed)


def end_thread(thread: int) -> None:
    """Raise `SystemExit` in the thread with this identifier."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(SystemExit))
    sys.stderr.write("killed\n")


class TwinEngine(FaultyEngine):
    """A faulty engine of which a service runs two."""

    @staticmethod
    def devices(wanted: str) -> list[str]:
        return [wanted, wanted]
