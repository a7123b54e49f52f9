"""Admission: who may come into the house, decided before any work is done."""

import asyncio
import math
import time
from collections.abc import Callable
from types import TracebackType

from app.errors import NotReadyError, OverloadedError
from app.lanes import BULK_SHARE, Lane
from app.metrics import Metrics

MAX_RETRY_SECONDS = 60.0
"""No one is sent away for longer: those who were refused before may never come back."""

WAITING_SHARE = 0.5
"""Of the house, for those who wait for room: the rest is kept for requests, which cannot wait."""


class Admission:
    """A request's place in the house; leaving the `with` block gives back what is left of it."""

    def __init__(self, house: "House", lane: Lane, ads: int, tokens: int) -> None:
        self._house, self.lane = house, lane
        self._ads, self._tokens = 0, 0
        self._left = False
        self.change(ads, tokens)

    def change(self, ads: int, tokens: int) -> None:
        """Count `ads` and `tokens` in (or out, where negative)."""
        # A cancelled ad reports its end after the request has left and given everything back.
        if self._left:
            return
        self._ads += ads
        self._tokens += tokens
        self._house.count(self.lane, ads, tokens)

    def correct(self, tokens: int) -> None:
        """Replace the estimated tokens by the counted ones."""
        self.change(0, tokens - self._tokens)

    def __enter__(self) -> "Admission":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.change(-self._ads, -self._tokens)
        self._left = True


class House:
    """Counts what is admitted and not yet answered, and refuses what would wait too long."""

    def __init__(
        self,
        max_queued_ads: int,
        max_queue_seconds: float,
        tokens_per_second: float,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_queued_ads, self._max_queue_seconds = max_queued_ads, max_queue_seconds
        self.rate = tokens_per_second
        self._metrics, self._clock = metrics, clock
        self.ads = 0
        self._tokens = dict.fromkeys(Lane, 0)
        self._room_at = -math.inf
        self._refusal: NotReadyError | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._freed = asyncio.Event()
        self._closed = asyncio.Event()
        self._turn = asyncio.Lock()
        metrics.max_queue_seconds.set(max_queue_seconds)
        metrics.queued_seconds.set_function(lambda: self._ahead(Lane.BULK) / self.rate)
        metrics.ready.set(1)

    def admit(self, ads: int, tokens: int, lane: Lane) -> Admission:
        """Take a whole request into the house, or refuse it, before any work is done for it.

        The rule is the same for one ad and for many: what is ahead of the request decides, never
        its own size, so an idle service takes whatever the limits of a request allow.

        Args:
            ads: how many the request has.
            tokens: their estimated tokens.
            lane: where they will wait.

        Raises:
            OverloadedError: too much is ahead of it; says when to try again.
            NotReadyError: the service is draining or has lost its device.
        """
        self.require_room(ads, tokens, lane)
        return Admission(self, lane, ads, tokens)

    def require_room(self, ads: int, tokens: int, lane: Lane) -> None:
        """Return if `admit` would take such a request now; raise and count as it does if not."""
        self.require_ready()
        wait = self._ahead(lane) / self.rate
        if wait > self._max_queue_seconds:
            raise self.refuse("queue_slow", tokens, wait - self._max_queue_seconds)
        if (excess := self.ads + ads - self._max_queued_ads) > 0:
            share = excess / self.ads
            raise self.refuse("queue_full", tokens, sum(self._tokens.values()) / self.rate * share)

    async def wait(self, ads: int, tokens: int) -> Admission:
        """Take a part of a bulk job in as soon as there is room; jobs take turns.

        Raises:
            NotReadyError: the service is draining or has lost its device.
        """
        async with self._turn:
            while not self._has_spare_room(ads):
                self.require_ready()
                self._freed.clear()
                await self._freed.wait()
            self.require_ready()
            return Admission(self, Lane.BULK, ads, tokens)

    def refuse(self, reason: str, tokens: int, seconds: float = 0.0) -> OverloadedError:
        """Count a refusal and return the error that says when there will be room.

        Everyone refused is told a time behind those refused before: told the same second, all would
        come back at once and find the house full again.

        Args:
            reason: one of the reasons of `doppelkopf_rejected_total`.
            tokens: what the request would bring, estimated.
            seconds: until there is room, were nobody else told to come back.
        """
        self._metrics.rejected.labels(reason).inc()
        now = self._clock()
        self._room_at = max(self._room_at, now + seconds)
        retry_after = max(1, math.ceil(self._room_at - now))
        self._room_at = min(self._room_at + tokens / self.rate, now + MAX_RETRY_SECONDS)
        return OverloadedError(
            f"Too much work is waiting; try again in {retry_after} s.", retry_after, reason
        )

    def longest_wait(self, lane: Lane) -> float:
        """Return the seconds an admitted request of this lane may wait for its first batch."""
        # Bulk ads that interactive ones overtake are sure of their share only.
        return self._max_queue_seconds / (BULK_SHARE if lane is Lane.BULK else 1)

    def count(self, lane: Lane, ads: int, tokens: int) -> None:
        """Count in what an admission brings, or out what it gives back."""
        self.ads += ads
        self._tokens[lane] += tokens
        self._metrics.queued_ads.set(self.ads)
        self._metrics.queued_tokens.set(sum(self._tokens.values()))
        self._freed.set()
        if self.ads:
            self._empty.clear()
        else:
            self._empty.set()

    def require_ready(self) -> None:
        """Return if requests are admitted.

        Raises:
            NotReadyError: the service is draining or has lost its device.
        """
        if self._refusal:
            raise NotReadyError(str(self._refusal))

    def close(self, reason: str) -> NotReadyError:
        """Admit nothing from now on; return the error that says why."""
        self._refusal = self._refusal or NotReadyError(reason)
        self._metrics.ready.set(0)
        self._closed.set()
        self._freed.set()
        return self._refusal

    async def closed(self) -> None:
        """Wait until nothing is admitted any more."""
        await self._closed.wait()

    async def emptied(self) -> None:
        """Wait until everything admitted is answered or has left."""
        await self._empty.wait()

    def _has_spare_room(self, ads: int) -> bool:
        seconds = self._ahead(Lane.BULK) / self.rate
        return (
            seconds <= self._max_queue_seconds * WAITING_SHARE
            and self.ads <= self._max_queued_ads * WAITING_SHARE
            and self.ads + ads <= self._max_queued_ads
        )

    def _ahead(self, lane: Lane) -> int:
        """Return the tokens that go before a request of this lane."""
        if lane is Lane.BULK:
            return sum(self._tokens.values())
        # Bulk ads take no more than their share from interactive ones.
        return min(
            round(self._tokens[Lane.INTERACTIVE] / (1 - BULK_SHARE)), sum(self._tokens.values())
        )
