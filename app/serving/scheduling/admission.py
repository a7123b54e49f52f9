"""Admission control: decides whether a request is accepted before any work is done for it."""

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
"""The longest `Retry-After`. Refused clients may never come back, so the time that is reserved for
them must not keep others away for longer."""

WAITING_SHARE = 0.5
"""Share of both limits that bulk jobs waiting for capacity may fill. The rest is left to requests,
which are refused instead of waiting."""

POLL_SECONDS = 0.05
"""How often waiting bulk jobs read shared counters: another process frees capacity without
waking them. It is shorter than most batches, so no engine runs dry between two reads."""


class Ticket:
    """An admitted request's ads and tokens in the counters.

    Leaving the `with` block subtracts what is left of them from the counters.
    """

    def __init__(
        self,
        controller: "AdmissionController",
        load: EngineLoad,
        lane: Lane,
        ads: int,
        tokens: int,
    ) -> None:
        self._controller, self.load, self.lane = controller, load, lane
        self._ads, self._tokens = 0, 0
        self._returned = False
        self.change(ads, tokens)

    def change(self, ads: int, tokens: int) -> None:
        """Add `ads` and `tokens` to the counters; negative numbers subtract."""
        # A cancelled ad ends after its request has left the block and returned everything.
        if self._returned:
            return
        self._ads += ads
        self._tokens += tokens
        self._controller.count(self.load, self.lane, ads, tokens)

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
        self._returned = True


class AdmissionController:
    """Counts the ads admitted and not yet answered, and refuses requests that would wait too long.

    Processes that share counters follow one rule. Reading the sums and adding to them is not one
    step, so `max_queued_ads` can be exceeded by one request of each process at most.

    Args:
        max_queued_ads: limit of ads admitted and not yet answered.
        max_queue_seconds: limit of work, in seconds, that is ahead of an admitted request.
        counters: what is admitted, by this process and by those that share the counters.
        metrics: where refusals and the queue's length are recorded.
        clock: seconds, monotonic, the same for all that share the counters.
        poll_seconds: how often bulk jobs that wait for capacity read shared counters; None
            if no other process uses them.
    """

    def __init__(
        self,
        max_queued_ads: int,
        max_queue_seconds: float,
        counters: SharedCounters,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        poll_seconds: float | None = None,
    ) -> None:
        self._max_queued_ads, self._max_queue_seconds = max_queued_ads, max_queue_seconds
        self._counters, self._loads = counters, counters.loads
        self._metrics, self._clock = metrics, clock
        self._poll_seconds = poll_seconds
        self._refusal: NotReadyError | None = None
        self._empty = asyncio.Event()
        self._empty.set()
        self._freed = asyncio.Event()
        self._closed = asyncio.Event()
        self._turn = asyncio.Lock()
        metrics.max_queue_seconds.set(max_queue_seconds)
        metrics.sample(metrics.queued_seconds, lambda: self._queued_tokens() / self.rate)
        metrics.ready.set(1)

    def admit(self, ads: int, tokens: int, lane: Lane) -> Ticket:
        """Admit a whole request, or refuse it.

        The work ahead of a request decides, never its own size: an idle service admits every
        request of at most `max_queued_ads`.

        Args:
            ads: how many ads the request has.
            tokens: their estimated tokens.
            lane: where they will wait.

        Raises:
            OverloadedError: too much work is ahead; says when to try again.
            NotReadyError: the service is draining or has lost its device.
        """
        return Ticket(self, self.check_capacity(ads, tokens, lane), lane, ads, tokens)

    def check_capacity(self, ads: int, tokens: int, lane: Lane) -> EngineLoad:
        """Return the load of the engine that such a request would go to; raises as `admit` does."""
        self.require_ready()
        waits = [_tokens_ahead(load, lane) / load.rate for load in self._loads]
        wait = min(waits)
        if wait > self._max_queue_seconds:
            raise self.refuse("queue_slow", tokens, wait - self._max_queue_seconds)
        if (excess := (admitted := self.ads) + ads - self._max_queued_ads) > 0:
            share = excess / admitted
            raise self.refuse("queue_full", tokens, self._queued_tokens() / self.rate * share)
        return self._loads[waits.index(wait)]

    async def wait_for_capacity(self, ads: int, tokens: int) -> Ticket:
        """Admit a part of a bulk job once there is capacity, in the order of the calls.

        Raises:
            NotReadyError: the service is draining or has lost its device.
        """
        async with self._turn:
            while (load := self._load_with_capacity(ads)) is None:
                self.require_ready()
                self._freed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_seconds):
                        await self._freed.wait()
            self.require_ready()
            return Ticket(self, load, Lane.BULK, ads, tokens)

    def refuse(self, reason: str, tokens: int, seconds: float = 0.0) -> OverloadedError:
        """Count a refusal and return its error, with the time to try again.

        Each refused request reserves the time that its tokens take, and the next one gets a
        later time. If all got the same second, most of them would be refused again.

        Args:
            reason: one of the reasons of `doppelkopf_rejected_total`.
            tokens: the request's tokens, estimated.
            seconds: until there is capacity, not counting refused requests that will come back.
        """
        self._metrics.rejected.labels(reason).inc()
        counters = self._counters
        with counters.lock:
            now = self._clock()
            retry_at = max(counters.next_retry_at, now + seconds)
            counters.next_retry_at = min(retry_at + tokens / self.rate, now + MAX_RETRY_SECONDS)
        retry_after = max(1, math.ceil(retry_at - now))
        return OverloadedError(
            f"Too much work is waiting; try again in {retry_after} s.", retry_after, reason
        )

    def max_wait_seconds(self, lane: Lane) -> float:
        """Return how long an admitted request of this lane may wait for its first batch."""
        # While interactive ads overtake them, bulk ads get only their share of each batch.
        return self._max_queue_seconds / (BULK_SHARE if lane is Lane.BULK else 1)

    @property
    def loads(self) -> Sequence[EngineLoad]:
        """The load of each engine."""
        return self._loads

    @property
    def ads(self) -> int:
        """Ads admitted and not yet answered, of all processes."""
        return sum(load.ads for load in self._loads)

    @property
    def rate(self) -> float:
        """Tokens a second of all engines together, as last measured."""
        return sum(load.rate for load in self._loads)

    def count(self, load: EngineLoad, lane: Lane, ads: int, tokens: int) -> None:
        """Change the counters of one engine; a `Ticket` calls it."""
        load.count(lane, ads, tokens)
        own_ads = sum(one.own_ads for one in self._loads)
        self._metrics.queued_ads.set(own_ads)
        self._metrics.queued_tokens.set(sum(one.own_tokens for one in self._loads))
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
        """Stop admitting; return the error for all later requests: the first reason given."""
        self._refusal = self._refusal or NotReadyError(reason)
        self._metrics.ready.set(0)
        self._closed.set()
        self._freed.set()
        return self._refusal

    async def closed(self) -> None:
        """Return once nothing is admitted any more."""
        await self._closed.wait()

    async def emptied(self) -> None:
        """Return once everything that this process admitted is answered, failed or cancelled."""
        await self._empty.wait()

    def _load_with_capacity(self, ads: int) -> EngineLoad | None:
        """Return the load of the engine with the least work; None if bulk jobs have to wait."""
        load = min(self._loads, key=lambda one: _tokens_ahead(one, Lane.BULK) / one.rate)
        admitted = self.ads
        has_capacity = (
            _tokens_ahead(load, Lane.BULK) / load.rate <= self._max_queue_seconds * WAITING_SHARE
            and admitted <= self._max_queued_ads * WAITING_SHARE
            and admitted + ads <= self._max_queued_ads
        )
        return load if has_capacity else None

    def _queued_tokens(self) -> int:
        return sum(_tokens_ahead(load, Lane.BULK) for load in self._loads)


def _tokens_ahead(load: EngineLoad, lane: Lane) -> int:
    """Return the tokens that the engine computes before a new request of this lane."""
    interactive = load.tokens(Lane.INTERACTIVE)
    everything = interactive + load.tokens(Lane.BULK)
    if lane is Lane.BULK:
        return everything
    # While interactive ads wait, bulk ads get only their share of each batch.
    return min(round(interactive / (1 - BULK_SHARE)), everything)
