"""The two lanes of the queue, and the rule that composes the next batch."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from app.core.types import EncodedAd, Scores
from app.serving.request_trace import Trace, current

BULK_SHARE = 0.25
"""Share of each batch's tokens that bulk ads earn while interactive ads keep them waiting."""


class Lane(Enum):
    """Who waits for the answer: a person (interactive) or a job (bulk)."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class ResultSink(Protocol):
    """Receives an ad's result, once: an `asyncio.Future` or an object with these methods of it."""

    def done(self) -> bool:
        """Whether the ad has a result, or its caller no longer needs one."""

    def set_result(self, scores: Scores, /) -> None:
        """Take the ad's scores."""

    def set_exception(self, error: Exception, /) -> None:
        """Take the reason why the ad has no scores."""


@dataclass(eq=False, slots=True)
class QueuedAd:
    """One ad in the queue; its times are those of the batcher's clock."""

    encoded: EncodedAd
    future: ResultSink
    queued_at: float
    trace: Trace = field(default_factory=current)
    expires_at: float = math.inf
    request: Sequence["QueuedAd"] = field(default=(), repr=False)
    """All ads of its request, including this one; set on the request's first ad only."""

    @property
    def tokens(self) -> int:
        """The ad's tokens, its part of a batch's budget."""
        return self.encoded.tokens


class Lanes:
    """Queues ads in two lanes and puts the next batch together.

    Interactive ads go first. Bulk ads earn credit for a share of every batch while they are passed
    over, and go first as far as their credit lasts (deficit round robin, Shreedhar and Varghese
    1996), so they never starve.
    """

    def __init__(self) -> None:
        self._lanes: dict[Lane, deque[QueuedAd]] = {lane: deque() for lane in Lane}
        self._credit = 0.0

    def add(self, entries: Sequence[QueuedAd], lane: Lane) -> None:
        """Append ads to a lane."""
        self._lanes[lane].extend(entries)

    def take(self, budget: int) -> list[QueuedAd]:
        """Remove and return the next batch: at most `budget` tokens, at least one ad if any waits.

        Ads whose callers have left are dropped on the way.
        """
        batch: list[QueuedAd] = []
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

    def expire(self, now: float) -> list[QueuedAd]:
        """Remove expired ads from the head of each lane and return them."""
        late: list[QueuedAd] = []
        for lane in self._lanes.values():
            while (head := _head(lane)) and head.expires_at < now:
                late.append(lane.popleft())
        return late

    def __iter__(self) -> Iterator[QueuedAd]:
        """Iterate over all queued ads, the interactive lane first."""
        return (entry for lane in self._lanes.values() for entry in lane)

    def clear(self) -> list[QueuedAd]:
        """Remove and return all queued ads."""
        entries = list(self)
        for lane in self._lanes.values():
            lane.clear()
        return entries


def _head(lane: deque[QueuedAd]) -> QueuedAd | None:
    """Return the first ad whose caller still waits; drops those before it."""
    while lane and lane[0].future.done():
        lane.popleft()
    return lane[0] if lane else None
