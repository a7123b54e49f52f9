"""Turns of the processes that share a run of the tests: most go side by side, some alone.

What floods the machine or measures time would disturb its neighbours, and they it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Wait for a turn and keep it: beside others, or with all others held.

    Args:
        folder: the same for all processes.
        alone: whether nobody else may have a turn meanwhile.
    """
    gate, place = (os.open(folder / name, os.O_CREAT | os.O_RDWR) for name in ("gate", "place"))
    try:
        # Whoever waits for the place keeps the gate: else newcomers would pass by without an end.
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(place, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield
    finally:
        os.close(gate)
        os.close(place)
