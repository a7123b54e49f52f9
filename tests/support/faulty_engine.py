"""The real server with an engine that is slow and fails on demand.

    python -m tests.support.serve_with_engine tests.support.faulty_engine:FaultyEngine GATE SECONDS MEMORY

Every pass takes SECONDS more and fails for lack of memory above MEMORY tokens. A window of a
certain length forces a fault, or holds the pass until the file GATE exists: `text_of` makes an ad
that is read in one window of so many tokens.
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

BROKEN, NEVER_FITS, LOST, HANGS, ENDS, KILLED, HELD = range(11, 18)


def text_of(tokens: int) -> str:
    """Return a text of so many tokens, the two special ones counted."""
    return "Koch " * (tokens - 2)


class FaultyEngine(Engine):
    """Fails where a batch holds a window of a length that stands for a fault."""

    def __init__(self, *args: Any) -> None:
        gate, seconds, memory = os.environ[OPTIONS].split()
        self.gate, self.seconds, self.memory = Path(gate), float(seconds), int(memory)
        super().__init__(*args)

    def run(self, batch: Sequence[EncodedAd]) -> list[Scores]:
        results = super().run(batch)
        if any(encoded.tokens == KILLED for encoded in batch):
            # A little later, when the thread waits for its next batch.
            threading.Timer(0.2, kill, [threading.get_ident()]).start()
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
        if LOST in lengths:
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")
        if HANGS in lengths:
            threading.Event().wait()
        if ENDS in lengths:
            raise SystemExit("ended from inside")
        return super()._forward(packed)


def kill(thread: int) -> None:
    """Let a thread end, wherever it is."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(SystemExit))
    sys.stderr.write("killed\n")


class TwinEngine(FaultyEngine):
    """One of two."""

    @staticmethod
    def devices(wanted: str) -> list[str]:
        return [wanted, wanted]
