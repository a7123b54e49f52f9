"""When a load sends and what it notes, with a clock and a server of the test's own."""

import asyncio
import json
import random
import statistics
from collections.abc import Callable
from itertools import pairwise

import pytest

from app.bench.http_client import LOST, Reply
from app.bench.load_generator import (
    HELD_BACK,
    UNANSWERED,
    Load,
    Plan,
    Request,
    Shots,
    arrivals,
    tokens_of,
)

REQUESTS = [Request(b"one"), Request(b"three", ads=3)]
ANSWER = json.dumps({"tokens": 7}).encode()


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  a load, no secret


class World:
    """Time that passes in sleeps only; `answer` says what a request gets and how long it takes."""

    def __init__(self, answer: Callable[[bytes], tuple[int, float]], oversleep: float = 0.0):
        self.now, self.answer, self.oversleep = 100.0, answer, oversleep
        self.waiting = 0
        self.most_waiting = 0

    async def sleep(self, seconds: float) -> None:
        # The shortest step moves the clock; whoever waits for later sleeps on.
        self.now += seconds + (self.oversleep if seconds else 0.0)
        await asyncio.sleep(0)

    async def send(self, content: bytes, due: float) -> Reply:
        status, takes = self.answer(content)
        end = self.now + takes
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        try:
            while self.now < end:  # noqa: ASYNC110  time moves elsewhere
                await asyncio.sleep(0)
        finally:
            self.waiting -= 1
        return Reply(status, {}, end - due, end, ANSWER)


def run(
    plan: Plan, world: World, stopped: Callable[[], bool] = lambda: False, **options: int
) -> tuple[Shots, float]:
    async def main() -> tuple[Shots, float]:
        load = Load(plan, world.send, lambda: world.now, world.sleep, **options)
        return await load.run(stopped)

    return asyncio.run(main())


def open_loop(**changes: object) -> Plan:
    given = {"rate": 50.0, "warm_up": 1.0, "duration": 9.0, "patience": 5.0} | changes
    return Plan("http://test", REQUESTS, **given)


def test_arrivals_are_a_poisson_process_of_the_rate():
    times = list(arrivals(200.0, 100.0, seeded(3)))
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < 100
    assert len(times) == pytest.approx(20_000, rel=0.03)
    gaps = [after - before for before, after in pairwise(times)]
    # Exponential gaps spread as widely as they are long; regular ones would not spread at all.
    assert statistics.stdev(gaps) == pytest.approx(1 / 200, rel=0.05)


def test_the_same_seed_gives_the_same_arrivals_and_each_process_its_own():
    first, again = (list(arrivals(50, 5, seeded(3))) for _ in range(2))
    assert first == again
    shares = [open_loop(seed=3).share(index, 4) for index in range(4)]
    assert sum(share.rate for share in shares) == 50
    assert len({share.seed for share in shares}) == 4


def test_connections_are_shared_out_to_the_last_one():
    plan = open_loop(rate=None, connections=10)
    assert [plan.share(index, 4).connections for index in range(4)] == [3, 3, 2, 2]


def test_an_open_loop_sends_whatever_the_server_does():
    world = World(lambda _: (200, 3.0))
    shots, sent = run(open_loop(), world)
    assert sent == pytest.approx(10, abs=0.2)
    assert len(shots) == len(list(arrivals(50, 10, seeded(1))))
    assert world.most_waiting > 100
    assert set(shots["status"].tolist()) == {200}
    assert set(shots["ads"].tolist()) == {1, 3}
    assert shots["tokens"].sum() == 7 * len(shots)


def test_a_late_generator_is_charged_to_the_latency_and_noted():
    shots, _ = run(open_loop(), World(lambda _: (200, 0.2), oversleep=0.05))
    assert statistics.median(shots["late"]) > 0.02
    assert shots["seconds"] == pytest.approx(shots["late"] + 0.2)


def test_a_closed_loop_keeps_its_clients_busy_and_no_more():
    world = World(lambda _: (200, 0.5))
    shots, _ = run(open_loop(rate=None, connections=4), world)
    assert world.most_waiting == 4
    assert len(shots) == pytest.approx(4 * 10 / 0.5, rel=0.25)
    assert shots["late"].max() == 0


def test_what_is_not_answered_in_time_is_counted_so():
    shots, _ = run(open_loop(), World(lambda one: (200, 1e9 if one == b"three" else 0.1)))
    hung = shots[shots["ads"] == 3]
    assert len(hung)
    assert set(hung["status"].tolist()) == {UNANSWERED}
    assert set(shots[shots["ads"] == 1]["status"].tolist()) == {200}


def test_no_more_requests_wait_than_the_bound():
    world = World(lambda _: (200, 3.0))
    shots, _ = run(open_loop(), world, most_in_flight=20)
    assert world.most_waiting == 20
    assert 0 < (shots["status"] == HELD_BACK).sum() < len(shots)


def test_a_lost_server_is_not_asked_in_a_tight_loop():
    world = World(lambda _: (LOST, 0.0))
    shots, _ = run(open_loop(rate=None, connections=1), world)
    assert 0 < len(shots) <= 101


def test_a_stop_ends_it_at_once_and_forgets_what_is_not_answered():
    world = World(lambda _: (200, 1.0))
    shots, sent = run(open_loop(), world, lambda: world.now >= 104)
    assert sent == pytest.approx(4, abs=0.2)
    assert set(shots["status"].tolist()) == {200}
    assert shots["intended"].max() < 3.2


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (b'{"tokens": 5}', 5),
        (b'{"results": [{"tokens": 5}, {"tokens": 6}]}', 11),
        (b'{"label": "of another service"}', 0),
        (b"[1]", 0),
        (b"<html>", 0),
    ],
)
def test_tokens_are_read_from_answers_of_this_service(body, tokens):
    assert tokens_of(body) == tokens
