"""Admission: who may come into the house, decided before any work is done."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType

from app.core.errors import NotReadyError, OverloadedError
from app.serving.metrics import Metrics
from app.serving.scheduling.lanes import BULK_SHARE, Lane
from app.serving.scheduling.shared_counters import EngineLoad, SharedCounters

DRAINING = "The service is shutting down; try another instance."
LOST = "The device failed; the service is restarting."
REPLACED = "The model was replaced; send it again."

MAX_RETRY_SECONDS = 60
"""No one is sent away for longer: those who were refused before may never come back."""

WAITING_SHARE = 0.5
"""Of the house, for those who wait for room: the rest is kept for requests, which cannot wait."""

POLL_SECONDS = 0.05
"""Nobody is woken by who leaves in another process, so those who wait look from time to time. It is
below the time of most batches: no engine runs dry between two looks."""


class Ticket:
    """A request's place in the house; leaving the `with` block gives back what is left of it."""

    def __init__(
        self, house: "AdmissionController", account: EngineLoad, lane: Lane, ads: int, tokens: int
    ) -> None:
        self._house, self.account, self.lane = house, account, lane
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
        self._house.count(self.account, self.lane, ads, tokens)

    def correct(self, tokens: int) -> None:
        """Replace the estimated tokens by the counted ones."""
        self.change(0, tokens - self._tokens)

    def __enter__(self) -> "Ticket":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.change(-self._ads, -self._tokens)
        self._left = True


class AdmissionController:
    """Counts what is admitted and not yet answered, and refuses what would wait too long.

    Processes that share a ledger share one rule. Between a look at the sums and its own entry
    others may enter: a house is overfull by a request of each process at most.
    """

    def __init__(
        self,
        max_queued_ads: int,
        max_queue_seconds: float,
        ledger: SharedCounters,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        poll_seconds: float | None = None,
    ) -> None:
        """Open.

        Args:
            max_queued_ads: ads inside at once.
            max_queue_seconds: work that may be ahead of a request that is admitted.
            ledger: counts what is inside, here and in other processes.
            metrics: where it is recorded.
            clock: seconds, monotonic, the same for all that share the ledger.
            poll_seconds: how often those who wait for room look at a shared ledger; None where it
                is this process's own.
        """
        self._max_queued_ads, self._max_queue_seconds = max_queued_ads, max_queue_seconds
        self._ledger, self._accounts = ledger, ledger.accounts
        self._metrics, self._clock = metrics, clock
        self._poll_seconds = poll_seconds
        self._refusal: NotReadyError | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._freed = asyncio.Event()
        self._closed = asyncio.Event()
        self._turn = asyncio.Lock()
        metrics.max_queue_seconds.set(max_queue_seconds)
        metrics.follow(metrics.queued_seconds, lambda: self._queued_tokens() / self.rate)
        metrics.ready.set(1)

    def admit(self, ads: int, tokens: int, lane: Lane) -> Ticket:
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
        return Ticket(self, self.check_capacity(ads, tokens, lane), lane, ads, tokens)

    def check_capacity(self, ads: int, tokens: int, lane: Lane) -> EngineLoad:
        """Return where `admit` would take such a request now; raise and count as it does if not."""
        self.require_ready()
        waits = [_ahead(account, lane) / account.rate for account in self._accounts]
        wait = min(waits)
        if wait > self._max_queue_seconds:
            raise self.refuse("queue_slow", tokens, wait - self._max_queue_seconds)
        if (excess := (inside := self.ads) + ads - self._max_queued_ads) > 0:
            share = excess / inside
            raise self.refuse("queue_full", tokens, self._queued_tokens() / self.rate * share)
        return self._accounts[waits.index(wait)]

    async def wait(self, ads: int, tokens: int) -> Ticket:
        """Take a part of a bulk job in as soon as there is room; jobs take turns.

        Raises:
            NotReadyError: the service is draining or has lost its device.
        """
        async with self._turn:
            while (account := self._with_spare_room(ads)) is None:
                self.require_ready()
                self._freed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_seconds):
                        await self._freed.wait()
            self.require_ready()
            return Ticket(self, account, Lane.BULK, ads, tokens)

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
        ledger = self._ledger
        with ledger.lock:
            now = self._clock()
            next_retry_at = max(ledger.next_retry_at, now + seconds)
            ledger.next_retry_at = min(next_retry_at + tokens / self.rate, now + MAX_RETRY_SECONDS)
        retry_after = max(1, math.ceil(next_retry_at - now))
        return OverloadedError(
            f"Too much work is waiting; try again in {retry_after} s.", retry_after, reason
        )

    def longest_wait(self, lane: Lane) -> float:
        """Return the seconds an admitted request of this lane may wait for its first batch."""
        # Bulk ads that interactive ones overtake are sure of their share only.
        return self._max_queue_seconds / (BULK_SHARE if lane is Lane.BULK else 1)

    @property
    def accounts(self) -> Sequence[EngineLoad]:
        """Those of all engines."""
        return self._accounts

    @property
    def ads(self) -> int:
        """Ads in the house, of all processes."""
        return sum(account.ads for account in self._accounts)

    @property
    def rate(self) -> float:
        """Tokens a second of all engines, as they last measured."""
        return sum(account.rate for account in self._accounts)

    def count(self, account: EngineLoad, lane: Lane, ads: int, tokens: int) -> None:
        """Count in what an admission brings, or out what it gives back."""
        account.count(lane, ads, tokens)
        own_ads = sum(account.own_ads for account in self._accounts)
        self._metrics.queued_ads.set(own_ads)
        self._metrics.queued_tokens.set(sum(account.own_tokens for account in self._accounts))
        self._freed.set()
        if own_ads:
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
        """Wait until everything that this process admitted is answered or has left."""
        await self._empty.wait()

    def _with_spare_room(self, ads: int) -> EngineLoad | None:
        account = min(self._accounts, key=lambda one: _ahead(one, Lane.BULK) / one.rate)
        inside = self.ads
        is_spare = (
            _ahead(account, Lane.BULK) / account.rate <= self._max_queue_seconds * WAITING_SHARE
            and inside <= self._max_queued_ads * WAITING_SHARE
            and inside + ads <= self._max_queued_ads
        )
        return account if is_spare else None

    def _queued_tokens(self) -> int:
        return sum(_ahead(account, Lane.BULK) for account in self._accounts)


def _ahead(account: EngineLoad, lane: Lane) -> int:
    """Return the tokens that go before a request of this lane."""
    interactive = account.tokens(Lane.INTERACTIVE)
    everything = interactive + account.tokens(Lane.BULK)
    if lane is Lane.BULK:
        return everything
    # Bulk ads take no more than their share from interactive ones.
    return min(round(interactive / (1 - BULK_SHARE)), everything)
