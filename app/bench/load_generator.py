"""The load: when requests are sent, and what became of each.

In an open loop they come at random whatever the server does, as those of many users do, and are
timed from when they were meant to be sent: a server that stalls is charged for all who would have
come meanwhile. In a closed loop each of a few clients waits for its answer before it asks again.
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

from app.bench.http_client import LOST, Reply

UNANSWERED, HELD_BACK = -1, -2
"""Stand for the status of a request whose answer nobody waited for any longer, and of one that was
not sent because `MOST_IN_FLIGHT` others were."""

MOST_IN_FLIGHT = 4000
MOST_SHOTS = 1_000_000
"""Requests of one process: what it keeps of them stays below 100 MB."""

TICK_SECONDS = 0.1
"""Between two looks at whether the user wants an end."""

SHOT = np.dtype(
    [
        ("intended", "f8"), ("late", "f8"), ("seconds", "f8"),
        ("status", "i4"), ("ads", "i4"), ("tokens", "i8"),
    ]
)  # fmt: skip
"""A request: seconds from the load's begin to its intended send, from there to its send and to its
answer; the answer's status or what stands for it; ads that were sent and tokens that were read."""

Shots = npt.NDArray[np.void]
Send = Callable[[bytes, float], Awaitable[Reply]]
"""Sends a request that was meant for a time of the clock."""


@dataclass(frozen=True, slots=True)
class Request:
    """The bytes of a request, ready to be sent, and how many ads it holds."""

    content: bytes
    ads: int = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. Times in seconds; `rate` in requests a second makes an open loop.

    Where it is None, `connections` clients make a closed one. What is sent in the first `warm_up`
    seconds is not measured. Answers are waited for no longer than `patience` after the end.
    """

    address: str
    requests: Sequence[Request] = field(repr=False)
    rate: float | None = None
    connections: int = 0
    warm_up: float = 2.0
    duration: float = 10.0
    patience: float = 30.0
    seed: int = 1

    @property
    def end(self) -> float:
        """Seconds from the begin to the last send."""
        return self.warm_up + self.duration

    def share(self, index: int, count: int) -> "Plan":
        """Return the part of one of `count` processes; independent arrivals add up to the whole."""
        return replace(
            self,
            rate=None if self.rate is None else self.rate / count,
            connections=self.connections // count + (index < self.connections % count),
            seed=self.seed + index,
        )


def arrivals(rate: float, seconds: float, rng: random.Random) -> Iterator[float]:
    """Yield the times of a Poisson process of `rate` a second, from 0 to `seconds`."""
    at = rng.expovariate(rate)
    while at < seconds:
        yield at
        at += rng.expovariate(rate)


class Load:
    """Sends what a plan says, once."""

    def __init__(
        self,
        plan: Plan,
        send: Send,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        most_in_flight: int = MOST_IN_FLIGHT,
    ) -> None:
        """Take the plan and what the load happens in: the way to send, the clock and the sleep."""
        self._plan, self._send, self._clock, self._sleep = plan, send, clock, sleep
        self._most_in_flight = most_in_flight
        # Two, so that the arrivals are the same whatever is sent.
        self._times = random.Random(plan.seed)  # noqa: S311  a load, no secret
        self._choices = random.Random(f"ads {plan.seed}")  # noqa: S311  likewise
        self._shots: list[tuple[float, float, float, int, int, int]] = []
        self._running: set[asyncio.Task[object]] = set()
        self._stopped: Callable[[], bool] = lambda: False
        self._begin = 0.0

    async def run(self, stopped: Callable[[], bool]) -> tuple[Shots, float]:
        """Send, and wait for the answers.

        Args:
            stopped: asked now and then; once it says so, all ends at once, and requests that are
                not answered yet are forgotten.

        Returns:
            The requests, and for how many seconds they were sent.
        """
        self._stopped, self._begin = stopped, self._clock()
        if self._plan.rate is None:
            for _ in range(self._plan.connections):
                self._start(self._client())
            await self._wait(self._begin + self._plan.end)
        else:
            await self._arrive(self._plan.rate)
        sent = min(self._clock() - self._begin, self._plan.end)
        await self._wait(self._begin + self._plan.end + self._plan.patience)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running)
        return np.array(self._shots, dtype=SHOT), sent

    async def _arrive(self, rate: float) -> None:
        for offset in arrivals(rate, self._plan.end, self._times):
            due = self._begin + offset
            while (left := due - self._clock()) > 0 and not self._stopped():
                await self._sleep(min(left, TICK_SECONDS))
            if self._stopped():
                return
            # However late it is: what was sent before has to move on too.
            await self._sleep(0)
            request = self._choices.choice(self._plan.requests)
            if len(self._running) >= self._most_in_flight:
                self._note(due, due, HELD_BACK, request.ads)
            else:
                self._start(self._fire(request, due))
        await self._wait(self._begin + self._plan.end, for_all=False)

    async def _client(self) -> None:
        end = self._begin + self._plan.end
        while (due := self._clock()) < end and not self._stopped():
            if len(self._shots) >= MOST_SHOTS:
                return
            if await self._fire(self._choices.choice(self._plan.requests), due) == LOST:
                await self._sleep(TICK_SECONDS)  # spares a server that is just starting again

    async def _fire(self, request: Request, due: float) -> int:
        """Send one request and note what became of it; return its status."""
        sent = self._clock()
        try:
            reply = await self._send(request.content, due)
        except asyncio.CancelledError:
            # Only `run` cancels, at the very end: this is the task's result.
            if not self._stopped():
                self._note(due, sent, UNANSWERED, request.ads)
            return UNANSWERED
        tokens = tokens_of(reply.body) if reply.status == 200 else 0
        self._note(due, sent, reply.status, request.ads, reply.seconds, tokens)
        return reply.status

    def _note(
        self, due: float, sent: float, status: int, ads: int, seconds: float = 0.0, tokens: int = 0
    ) -> None:
        self._shots.append((due - self._begin, sent - due, seconds, status, ads, tokens))

    def _start(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _wait(self, until: float, for_all: bool = True) -> None:
        """Wait until a time of the clock, the user's end, or for all that runs."""
        while (left := until - self._clock()) > 0 and not self._stopped():
            if for_all and not self._running:
                return
            await self._sleep(min(left, TICK_SECONDS))


def tokens_of(body: bytes) -> int:
    """Return the tokens that an answer says were read; 0 where it is of another service."""
    try:
        answer = json.loads(body)
        return sum(int(one["tokens"]) for one in answer.get("results", [answer]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0
