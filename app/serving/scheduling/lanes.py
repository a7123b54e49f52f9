"""The queue's two lanes and what goes into the next batch: policy only, no waiting."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from app.core.types import Encoded, Scores
from app.serving.request_trace import Trace, current

BULK_SHARE = 0.25
"""Share of each batch's tokens that bulk ads earn while interactive ads keep them waiting."""


class Lane(Enum):
    """Who waits for an answer: a person, or a job."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class ResultSink(Protocol):
    """What becomes of an ad, told once: an `asyncio.Future`, or what serves as one."""

    def done(self) -> bool:
        """Tell whether it is known, or nobody wants it any more."""

    def set_result(self, scores: Scores, /) -> None:
        """The ad was answered."""

    def set_exception(self, error: Exception, /) -> None:
        """The ad failed."""


@dataclass(eq=False, slots=True)
class Entry:
    """One ad in the queue."""

    encoded: Encoded
    future: ResultSink
    queued_at: float
    trace: Trace = field(default_factory=current)
    expires_at: float = math.inf
    request: Sequence["Entry"] = field(default=(), repr=False)
    """All ads that came with it, itself among them."""

    @property
    def tokens(self) -> int:
        """What the ad costs."""
        return self.encoded.tokens


class Lanes:
    """Both lanes, and what goes into the next batch.

    Interactive ads go first. Bulk ads earn a share of every batch while they are passed over and
    spend it in front (deficit round robin, Shreedhar and Varghese 1996), so they never starve.
    """

    def __init__(self) -> None:
        self._lanes: dict[Lane, deque[Entry]] = {lane: deque() for lane in Lane}
        self._credit = 0.0

    def add(self, entries: Sequence[Entry], lane: Lane) -> None:
        """Let ads wait at the end of their lane."""
        self._lanes[lane].extend(entries)

    def take(self, budget: int) -> list[Entry]:
        """Remove and return the next batch: at most `budget` tokens, at least one ad if any waits.

        Ads whose callers have left are dropped on the way.
        """
        batch: list[Entry] = []
        room = budget
        bulk, interactive = self._lanes[Lane.BULK], self._lanes[Lane.INTERACTIVE]
        self._credit = self._credit + budget * BULK_SHARE if _head(bulk) else 0.0
        while (head := _head(bulk)) and head.tokens <= min(self._credit, room):
            self._credit -= head.tokens
            room -= head.tokens
            batch.append(bulk.popleft())
        for lane in (interactive, bulk):
            while (head := _head(lane)) and (head.tokens <= room or not batch):
                room -= head.tokens
                batch.append(lane.popleft())
        return batch

    def expire(self, now: float) -> list[Entry]:
        """Remove and return the ads whose time ran out before they came to the head of a lane."""
        late: list[Entry] = []
        for lane in self._lanes.values():
            while (head := _head(lane)) and head.expires_at < now:
                late.append(lane.popleft())
        return late

    def __iter__(self) -> Iterator[Entry]:
        """Look at everything that waits."""
        return (entry for lane in self._lanes.values() for entry in lane)

    def clear(self) -> list[Entry]:
        """Remove and return everything."""
        entries = list(self)
        for lane in self._lanes.values():
            lane.clear()
        return entries


def _head(lane: deque[Entry]) -> Entry | None:
    """Return the first ad that is still wanted, dropping those before it."""
    while lane and lane[0].future.done():
        lane.popleft()
    return lane[0] if lane else None
