"""The ledger: what is admitted and not yet answered, kept in one place for all who admit.

One process keeps it in memory of its own. Several share a file in memory; each counts in a row of
its own and reads the sums, so that admission asks nobody and nothing is lost when one of them dies.
"""

import fcntl
import mmap
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from app.serving.scheduling.lanes import Lane

CELL = 8
"""Bytes of a number; an aligned one is written at once on every machine that torch runs on."""

ADS, FIRST_LANE = 0, 1
WIDTH = FIRST_LANE + len(Lane)
"""Numbers of one row for one engine: ads, then each lane's tokens."""

_COLUMNS = {lane: FIRST_LANE + place for place, lane in enumerate(Lane)}


class EngineLoad:
    """What waits for one engine."""

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
        self._own = row * width + number * WIDTH
        # One number of every row.
        self._columns = [
            slice(number * WIDTH + place, len(counts), width) for place in range(WIDTH)
        ]

    @property
    def rate(self) -> float:
        """Tokens a second, as the engine last measured."""
        return float(self._rates[self.number])

    @rate.setter
    def rate(self, rate: float) -> None:
        self._rates[self.number] = rate

    def count(self, lane: Lane, ads: int, tokens: int) -> None:
        """Count in, or out where negative, what this process admitted."""
        self._counts[self._own + ADS] += ads
        self._counts[self._own + _COLUMNS[lane]] += tokens

    @property
    def ads(self) -> int:
        """Ads of all processes."""
        return sum(self._counts[self._columns[ADS]])

    def tokens(self, lane: Lane) -> int:
        """Tokens of all processes in one lane."""
        return sum(self._counts[self._columns[_COLUMNS[lane]]])

    @property
    def own_ads(self) -> int:
        """Ads that this process admitted."""
        return int(self._counts[self._own + ADS])

    @property
    def own_tokens(self) -> int:
        """Tokens that this process admitted."""
        first = self._own + FIRST_LANE
        return sum(self._counts[first : first + len(Lane)])


class SharedCounters:
    """The accounts of all engines, and the time that refused clients are told next."""

    def __init__(
        self,
        memory: bytearray | mmap.mmap,
        engines: int,
        row: int,
        lock: AbstractContextManager[None],
    ) -> None:
        numbers = memoryview(memory)
        head = (1 + engines) * CELL
        floats, self._counts = numbers[:head].cast("d"), numbers[head:].cast("q")
        self._room_at = floats[:1]
        self._width = engines * WIDTH
        self.lock = lock
        """Held to read and write `next_retry_at` as one step."""
        self.accounts: Sequence[EngineLoad] = [
            EngineLoad(number, floats[1:], self._counts, row, self._width)
            for number in range(engines)
        ]

    @classmethod
    def of_one(cls, tokens_per_second: float) -> "SharedCounters":
        """Return the ledger of a process that admits and computes by itself."""
        ledger = cls(bytearray(_size(1, 1)), 1, 0, nullcontext())
        ledger.accounts[0].rate = tokens_per_second
        return ledger

    @classmethod
    def create(cls, path: Path, rows: int, engines: int) -> "SharedCounters":
        """Make the file that all processes share, for so many that admit and so many engines."""
        with path.open("xb") as file:
            file.truncate(_size(rows, engines))
        return cls.open(path, rows, engines)

    @classmethod
    def open(cls, path: Path, rows: int, engines: int, row: int = 0) -> "SharedCounters":
        """Share the file; `row` is this process's own, which nobody else writes."""
        # For the life of the process: the lock is taken on it.
        descriptor = os.open(path, os.O_RDWR)
        memory = mmap.mmap(descriptor, _size(rows, engines))
        return cls(memory, engines, row, _FileLock(descriptor))

    def clear(self, row: int) -> None:
        """Forget what a process admitted that is no more."""
        for place in range(row * self._width, (row + 1) * self._width):
            self._counts[place] = 0

    def only(self, engines: range) -> "SharedCounters":
        """Keep the accounts of some engines, by their numbers."""
        self.accounts = [self.accounts[number] for number in engines]
        return self

    @property
    def next_retry_at(self) -> float:
        """Seconds of the clock that all share: when there is room for whom is refused next."""
        return float(self._room_at[0])

    @next_retry_at.setter
    def next_retry_at(self, seconds: float) -> None:
        self._room_at[0] = seconds


class _FileLock(AbstractContextManager[None]):
    """Lets one process in at a time; whoever dies inside leaves it open for the others."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def _size(rows: int, engines: int) -> int:
    return CELL * (1 + engines + rows * engines * WIDTH)
