"""The knee of services that are formulas, and of one that works off a queue in simulated time."""

import asyncio
from collections import deque

import pytest

from app.bench.http_client import Reply
from app.bench.interrupt import Interrupt
from app.bench.load_generator import Load, Plan, Request
from app.bench.report import load_document, show_steps
from app.bench.runs import run_sweep
from app.bench.summary import Summary
from app.bench.sweep import CLOSE, MOST_STEPS, holds, knee, sweep


def step(rate: float, achieved: float, p99: float = 10.0) -> Summary:
    times = {"p50": p99 / 2, "p99": p99}
    return Summary(
        rate, None, 10.0, rate, achieved, achieved, achieved, times, {}, {200: 1}, {}, {}
    )


def service(capacity: float):
    """One whose queue fills up above its capacity."""
    return lambda rate: step(rate, min(rate, capacity), 10.0 if rate <= capacity else 9000.0)


@pytest.mark.parametrize("capacity", [0.7, 5, 18.4, 700])
@pytest.mark.parametrize("start", [5, 100])
def test_the_knee_is_found_from_below_and_from_above(capacity, start):
    steps = list(sweep(service(capacity), start, 1e5, 1000))
    found = knee(steps, 1000).rate
    assert capacity / CLOSE <= found <= capacity
    assert len(steps) <= MOST_STEPS


def test_a_step_holds_with_95_of_100_answered_within_the_bound():
    assert holds(step(100, 95), 1000)
    assert not holds(step(100, 94.9), 1000)
    assert not holds(step(100, 100, p99=1001), 1000)
    assert not holds(Summary(1, None, 10, 0, 0, 0, 0, {}, {}, {}, {}, {}), 1000)


def test_what_holds_above_a_rate_that_failed_is_luck():
    steps = [step(10, 10), step(20, 10), step(40, 40)]
    assert knee(steps, 1000).rate == 10


def test_a_service_that_answers_nothing_has_no_knee_and_the_search_ends():
    steps = list(sweep(lambda rate: step(rate, 0), 5, 1e5, 1000))
    assert len(steps) == MOST_STEPS
    assert knee(steps, 1000) is None


def test_the_search_ends_at_the_highest_rate_and_at_the_users_wish():
    assert [one.rate for one in sweep(service(1e9), 5, 30, 1000)] == [5, 10, 20, 30]
    left = iter([step(5, 5), step(10, 10), None])
    assert [one.rate for one in sweep(lambda _: next(left), 5, 1e5, 1000)] == [5, 10]


class Queue:
    """A server that answers requests one after the other, and the clock it lives by.

    It takes the same time for each request, so that its capacity is known. Only sleeps move the
    clock: how fast the machine is changes nothing. Stands in for `Workers` too.
    """

    def __init__(self, capacity: float) -> None:
        self.now, self.takes = 0.0, 1 / capacity
        self.waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        self.interrupt = Interrupt()

    async def sleep(self, seconds: float) -> None:
        # First what was started sends, and only then does time pass.
        await asyncio.sleep(0)
        self.now += seconds
        while self.waiting and self.waiting[0][0] <= self.now:
            _, answered = self.waiting.popleft()
            if not answered.cancelled():
                answered.set_result(None)

    async def send(self, _content: bytes, due: float) -> Reply:
        begin = max(self.waiting[-1][0] if self.waiting else 0.0, self.now)
        end, answered = begin + self.takes, asyncio.get_running_loop().create_future()
        self.waiting.append((end, answered))
        await answered
        return Reply(200, {}, end - due, end, b'{"tokens": 7}')

    def run(self, plan: Plan):
        self.waiting.clear()
        load = Load(plan, self.send, lambda: self.now, self.sleep)
        return asyncio.run(load.run(self.interrupt.wanted))


@pytest.mark.parametrize("capacity", [3, 12])
@pytest.mark.parametrize("start", [5, 40])
def test_a_sweep_of_loads_finds_the_capacity_of_a_queue(capacity, start):
    plan = Plan("http://test", [Request(b"")], start, warm_up=10, duration=100)
    steps = run_sweep(plan, Queue(capacity), most=1e5, p99_ms=5000)
    best = knee(steps, 5000)
    # Arrivals are random: near its capacity the queue gets long, and what waits is late.
    assert 0.8 * capacity <= best.rate <= capacity
    assert all(one.achieved <= capacity + 0.01 for one in steps)
    assert load_document(steps, plan.address, 5000)["knee"] == best.rate
    assert f"The knee is at {best.rate:.4g} requests/s" in list(show_steps(steps, 5000))[1]
