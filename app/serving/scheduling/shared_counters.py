"""The counters of admission: ads and tokens admitted and not yet answered, for each engine.

A single process keeps them in its own memory. Several processes share a file in memory: each adds
in a row of its own and reads the sums over all rows. So admission sends no messages, and when a
process dies its row can be cleared.
"""

import fcntl
import mmap
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from app.serving.scheduling.lanes import Lane

NUMBER_BYTES = 8
"""Bytes of a number. An aligned one is written in one step on every machine that torch runs on."""

ADS_COLUMN, FIRST_LANE_COLUMN = 0, 1
NUMBERS_PER_ENGINE = FIRST_LANE_COLUMN + len(Lane)
"""Numbers for one engine in a row: its ads, then the tokens of each lane."""

_LANE_COLUMNS = {lane: FIRST_LANE_COLUMN + place for place, lane in enumerate(Lane)}


class EngineLoad:
    """The ads and tokens that are admitted to one engine, and the engine's measured rate.

    Args:
        number: the engine's, counted from 0.
        rates: the rates of all engines.
        counts: the rows of all processes, one after the other.
        row: the number of this process's row.
        width: the numbers in a row.
    """

    def __init__(
        self,
        number: int,
        rates: "memoryview[float]",
        counts: "memoryview[int]",
        row: int,
        width: int,
    ) -> None:
        self.number = number
        self._rates, self._counts = rates, counts
        self._own = row * width + number * NUMBERS_PER_ENGINE
        # Each slice is one number of this engine in all rows.
        self._columns = [
            slice(number * NUMBERS_PER_ENGINE + place, len(counts), width)
            for place in range(NUMBERS_PER_ENGINE)
        ]

    @property
    def rate(self) -> float:
        """Tokens a second, as the engine last measured."""
        return float(self._rates[self.number])

    @rate.setter
    def rate(self, rate: float) -> None:
        self._rates[self.number] = rate

    def count(self, lane: Lane, ads: int, tokens: int) -> None:
        """Add to what this process admitted; negative numbers subtract."""
        self._counts[self._own + ADS_COLUMN] += ads
        self._counts[self._own + _LANE_COLUMNS[lane]] += tokens

    @property
    def ads(self) -> int:
        """Ads of all processes."""
        return sum(self._counts[self._columns[ADS_COLUMN]])

    def tokens(self, lane: Lane) -> int:
        """Return the tokens of all processes in one lane."""
        return sum(self._counts[self._columns[_LANE_COLUMNS[lane]]])

    @property
    def own_ads(self) -> int:
        """Ads that this process admitted."""
        return int(self._counts[self._own + ADS_COLUMN])

    @property
    def own_tokens(self) -> int:
        """Tokens that this process admitted, of both lanes."""
        first = self._own + FIRST_LANE_COLUMN
        return sum(self._counts[first : first + len(Lane)])


class SharedCounters:
    """The load of every engine, and the retry time of the next refused client.

    The memory holds that time, the engines' rates, and a row of counts for each process. Make one
    with `for_one_process`, `create` or `open`.
    """

    def __init__(
        self,
        memory: bytearray | mmap.mmap,
        engines: int,
        row: int,
        lock: AbstractContextManager[None],
    ) -> None:
        numbers = memoryview(memory)
        head = (1 + engines) * NUMBER_BYTES
        floats, self._counts = numbers[:head].cast("d"), numbers[head:].cast("q")
        self._next_retry_at = floats[:1]
        self._width = engines * NUMBERS_PER_ENGINE
        self.lock = lock
        """Held while `next_retry_at` is read and then written."""
        self.loads: Sequence[EngineLoad] = [
            EngineLoad(number, floats[1:], self._counts, row, self._width)
            for number in range(engines)
        ]

    @classmethod
    def for_one_process(cls, tokens_per_second: float) -> "SharedCounters":
        """Return the counters of a process that serves alone, with one engine of this rate."""
        counters = cls(bytearray(_size(1, 1)), 1, 0, nullcontext())
        counters.loads[0].rate = tokens_per_second
        return counters

    @classmethod
    def create(cls, path: Path, rows: int, engines: int) -> "SharedCounters":
        """Create the shared file, with a row for each process that admits, and open row 0."""
        with path.open("xb") as file:
            file.truncate(_size(rows, engines))
        return cls.open(path, rows, engines)

    @classmethod
    def open(cls, path: Path, rows: int, engines: int, row: int = 0) -> "SharedCounters":
        """Open the shared file; only this process may count in `row`."""
        # Stays open as long as the process lives, because the lock needs it.
        descriptor = os.open(path, os.O_RDWR)
        memory = mmap.mmap(descriptor, _size(rows, engines))
        return cls(memory, engines, row, _FileLock(descriptor))

    def clear(self, row: int) -> None:
        """Set the row of a process that has died to 0."""
        for place in range(row * self._width, (row + 1) * self._width):
            self._counts[place] = 0

    def select_engines(self, engines: range) -> "SharedCounters":
        """Keep the loads of these engines, by their numbers; return the same object."""
        self.loads = [self.loads[number] for number in engines]
        return self

    @property
    def next_retry_at(self) -> float:
        """When there will be capacity for the next refused client, on the shared clock, seconds."""
        return float(self._next_retry_at[0])

    @next_retry_at.setter
    def next_retry_at(self, seconds: float) -> None:
        self._next_retry_at[0] = seconds


class _FileLock(AbstractContextManager[None]):
    """A lock between processes; the system releases it when its holder dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def _size(rows: int, engines: int) -> int:
    """Return the bytes of the shared memory."""
    return NUMBER_BYTES * (1 + engines + rows * engines * NUMBERS_PER_ENGINE)
