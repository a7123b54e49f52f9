"""The knee of services that are formulas, and of a simulated queue of known capacity."""

import asyncio
from collections import deque

import pytest

from app.bench.http_client import HttpReply
from app.bench.interrupt import Interrupt
from app.bench.load_generator import LoadGenerator, LoadPlan, PreparedRequest
from app.bench.report import load_document, show_steps
from app.bench.summary import LoadSummary
from app.bench.sweep import MAX_STEPS, RESOLUTION, keeps_up, knee, run_sweep, search_knee


def step(rate: float, achieved: float, p99: float = 10.0) -> LoadSummary:
    times = {"p50": p99 / 2, "p99": p99}
    return LoadSummary(
        rate, None, 10.0, rate, achieved, achieved, achieved, times, {}, {200: 1}, {}, {}
    )


def service(capacity: float):
    """Return what a service measures whose queue grows above its capacity."""
    return lambda rate: step(rate, min(rate, capacity), 10.0 if rate <= capacity else 9000.0)


@pytest.mark.parametrize("capacity", [0.7, 5, 18.4, 700])
@pytest.mark.parametrize("start", [5, 100])
def test_the_knee_is_found_from_below_and_above(capacity, start):
    steps = list(search_knee(service(capacity), start, 1e5, 1000))
    found = knee(steps, 1000).rate
    assert capacity / RESOLUTION <= found <= capacity
    assert len(steps) <= MAX_STEPS


def test_keeping_up_is_95_percent_answered_within_the_bound():
    assert keeps_up(step(100, 95), 1000)
    assert not keeps_up(step(100, 94.9), 1000)
    assert not keeps_up(step(100, 100, p99=1001), 1000)
    assert not keeps_up(LoadSummary(1, None, 10, 0, 0, 0, 0, {}, {}, {}, {}, {}), 1000)


def test_rates_above_a_failed_one_are_not_the_knee():
    steps = [step(10, 10), step(20, 10), step(40, 40)]
    assert knee(steps, 1000).rate == 10


def test_a_service_without_answers_has_no_knee():
    steps = list(search_knee(lambda rate: step(rate, 0), 5, 1e5, 1000))
    assert len(steps) == MAX_STEPS
    assert knee(steps, 1000) is None


def test_the_search_ends_at_the_highest_rate_or_a_stop():
    assert [one.rate for one in search_knee(service(1e9), 5, 30, 1000)] == [5, 10, 20, 30]
    left = iter([step(5, 5), step(10, 10), None])
    assert [one.rate for one in search_knee(lambda _: next(left), 5, 1e5, 1000)] == [5, 10]


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

    async def send(self, _content: bytes, due: float) -> HttpReply:
        begin = max(self.waiting[-1][0] if self.waiting else 0.0, self.now)
        end, answered = begin + self.takes, asyncio.get_running_loop().create_future()
        self.waiting.append((end, answered))
        await answered
        return HttpReply(200, {}, end - due, end, b'{"tokens": 7}')

    def run(self, plan: LoadPlan):
        self.waiting.clear()
        load = LoadGenerator(plan, self.send, lambda: self.now, self.sleep)
        return asyncio.run(load.run(self.interrupt.wanted))


@pytest.mark.parametrize("capacity", [3, 12])
@pytest.mark.parametrize("start", [5, 40])
def test_a_sweep_of_loads_finds_the_capacity_of_a_queue(capacity, start):
    plan = LoadPlan("http://test", [PreparedRequest(b"")], start, warm_up=10, duration=100)
    steps = run_sweep(plan, Queue(capacity), max_rate=1e5, p99_ms=5000)
    best = knee(steps, 5000)
    # Arrivals are random: near its capacity the queue gets long, and what waits is late.
    assert 0.8 * capacity <= best.rate <= capacity
    assert all(one.achieved <= capacity + 0.01 for one in steps)
    assert load_document(steps, plan.address, 5000)["knee"] == best.rate
    assert f"The knee is at {best.rate:.4g} requests/s" in list(show_steps(steps, 5000))[1]
