"""Sends requests in an open or a closed loop and records the outcome of each.

In an open loop requests are sent at random times whatever the server does, as many independent
users would send them. Their latency counts from the intended time of sending, so that a server that
stalls is charged for the requests that were due during the stall ("coordinated omission" is
avoided). In a closed loop each of a few clients waits for an answer before its next request.
"""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from app.bench.http_client import LOST, HttpReply

UNANSWERED = -1
"""The status of a request that had no answer when the load gave up waiting."""

HELD_BACK = -2
"""The status of a request that was not sent, because `MAX_IN_FLIGHT` others had no answer yet."""

MAX_IN_FLIGHT = 4000
"""Maximum requests of one process that wait for an answer."""

MAX_SAMPLES = 1_000_000
"""Maximum requests of one process; their samples take less than 100 MB."""

TICK_SECONDS = 0.1
"""Time between two checks whether the load was stopped."""

REQUEST_SAMPLE = np.dtype(
    [
        ("intended", "f8"), ("late", "f8"), ("seconds", "f8"),
        ("status", "i4"), ("ads", "i4"), ("tokens", "i8"),
    ]
)  # fmt: skip
"""The sample of one request.

`intended` is when it should have been sent, in seconds from the start of the load. `late` and
`seconds` lead from there to when it was sent and to the end of its answer. `status` is that of the
answer, or `LOST`, `UNANSWERED` or `HELD_BACK`; `ads` were sent and `tokens` read.
"""

RequestSamples = npt.NDArray[np.void]
"""An array of request samples, of dtype `REQUEST_SAMPLE`."""

SendRequest = Callable[[bytes, float], Awaitable[HttpReply]]
"""Sends the bytes of a request that was due at a time of the clock."""


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """The bytes of a request, ready to be sent, and the number of its ads."""

    content: bytes
    ads: int = 1


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """The requests of a load, their rate, and its duration.

    `rate`, in requests per second, makes an open loop. Without it `connections` clients make a
    closed loop. All other figures are seconds: requests of the first `warm_up` are not measured,
    and answers that come later than `patience` after the end are given up.
    """

    address: str
    requests: Sequence[PreparedRequest] = field(repr=False)
    rate: float | None = None
    connections: int = 0
    warm_up: float = 2.0
    duration: float = 10.0
    patience: float = 30.0
    seed: int = 1

    @property
    def end(self) -> float:
        """Seconds from the start to the last request."""
        return self.warm_up + self.duration

    def share(self, index: int, count: int) -> "LoadPlan":
        """Return the part of process `index` of `count`; their independent arrivals add up."""
        return replace(
            self,
            rate=None if self.rate is None else self.rate / count,
            connections=self.connections // count + (index < self.connections % count),
            seed=self.seed + index,
        )


def arrivals(rate: float, seconds: float, rng: random.Random) -> Iterator[float]:
    """Yield the times of a Poisson process of `rate` per second, from 0 to `seconds`."""
    at = rng.expovariate(rate)
    while at < seconds:
        yield at
        at += rng.expovariate(rate)


class LoadGenerator:
    """Sends the requests of a plan, once.

    Args:
        plan: what to send.
        send: sends one request.
        clock: returns seconds.
        sleep: waits for some seconds.
        max_in_flight: maximum requests of an open loop that wait for an answer.
    """

    def __init__(
        self,
        plan: LoadPlan,
        send: SendRequest,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        self._plan, self._send, self._clock, self._sleep = plan, send, clock, sleep
        self._max_in_flight = max_in_flight
        # Two generators, so that the arrivals do not depend on which requests are drawn.
        self._times = random.Random(plan.seed)  # noqa: S311  a load, no secret
        self._choices = random.Random(f"ads {plan.seed}")  # noqa: S311  likewise
        self._samples: list[tuple[float, float, float, int, int, int]] = []
        self._running: set[asyncio.Task[object]] = set()
        self._stopped: Callable[[], bool] = lambda: False
        self._started = 0.0

    async def run(self, stopped: Callable[[], bool]) -> tuple[RequestSamples, float]:
        """Send the requests and wait for their answers.

        Args:
            stopped: called every `TICK_SECONDS`; once it returns true the load ends at once, and
                requests without an answer leave no sample.

        Returns:
            The samples, and for how many seconds requests were sent.
        """
        self._stopped, self._started = stopped, self._clock()
        if self._plan.rate is None:
            for _ in range(self._plan.connections):
                self._start(self._client())
            await self._wait(self._started + self._plan.end)
        else:
            await self._arrive(self._plan.rate)
        sent = min(self._clock() - self._started, self._plan.end)
        await self._wait(self._started + self._plan.end + self._plan.patience)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running)
        return np.array(self._samples, dtype=REQUEST_SAMPLE), sent

    async def _arrive(self, rate: float) -> None:
        for offset in arrivals(rate, self._plan.end, self._times):
            due = self._started + offset
            while (left := due - self._clock()) > 0 and not self._stopped():
                await self._sleep(min(left, TICK_SECONDS))
            if self._stopped():
                return
            # A generator that is late would never yield: the requests in flight need their turn.
            await self._sleep(0)
            request = self._choices.choice(self._plan.requests)
            if len(self._running) >= self._max_in_flight:
                self._record(due, due, HELD_BACK, request.ads)
            else:
                self._start(self._send_one(request, due))
        await self._wait(self._started + self._plan.end, for_all=False)

    async def _client(self) -> None:
        end = self._started + self._plan.end
        while (due := self._clock()) < end and not self._stopped():
            if len(self._samples) >= MAX_SAMPLES:
                return
            if await self._send_one(self._choices.choice(self._plan.requests), due) == LOST:
                await self._sleep(TICK_SECONDS)  # spares a server that is just restarting

    async def _send_one(self, request: PreparedRequest, due: float) -> int:
        """Send one request, record its sample, and return its status."""
        sent = self._clock()
        try:
            reply = await self._send(request.content, due)
        except asyncio.CancelledError:
            # Not raised again: only `run` cancels, at the very end, and gathers the tasks.
            if not self._stopped():
                self._record(due, sent, UNANSWERED, request.ads)
            return UNANSWERED
        tokens = tokens_of(reply.body) if reply.status == 200 else 0
        self._record(due, sent, reply.status, request.ads, reply.seconds, tokens)
        return reply.status

    def _record(
        self, due: float, sent: float, status: int, ads: int, seconds: float = 0.0, tokens: int = 0
    ) -> None:
        self._samples.append((due - self._started, sent - due, seconds, status, ads, tokens))

    def _start(self, coroutine: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _wait(self, until: float, for_all: bool = True) -> None:
        """Wait for a time of the clock, the stop, or if `for_all` the end of all requests."""
        while (left := until - self._clock()) > 0 and not self._stopped():
            if for_all and not self._running:
                return
            await self._sleep(min(left, TICK_SECONDS))


def tokens_of(body: bytes) -> int:
    """Return the tokens that an answer of /classify reports; 0 for any other answer."""
    try:
        answer = json.loads(body)
        return sum(int(one["tokens"]) for one in answer.get("results", [answer]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0
