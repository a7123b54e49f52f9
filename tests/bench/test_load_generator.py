import asyncio
import json
import random
import statistics
from collections.abc import Callable
from itertools import pairwise

import pytest

from app.bench.http_client import LOST, HttpReply
from app.bench.load_generator import (
    HELD_BACK,
    UNANSWERED,
    LoadGenerator,
    LoadPlan,
    PreparedRequest,
    RequestSamples,
    arrivals,
    tokens_of,
)

REQUESTS = [PreparedRequest(b"one"), PreparedRequest(b"three", ads=3)]
ANSWER = json.dumps({"tokens": 7}).encode()


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  a load, no secret


class FakeServer:
    """A server and a clock that moves in sleeps only.

    `answer` returns the status of a request and the seconds until it is answered.
    """

    def __init__(self, answer: Callable[[bytes], tuple[int, float]], oversleep: float = 0.0):
        self.now, self.answer, self.oversleep = 100.0, answer, oversleep
        self.waiting = 0
        self.most_waiting = 0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds + (self.oversleep if seconds else 0.0)
        await asyncio.sleep(0)

    async def send(self, content: bytes, due: float) -> HttpReply:
        status, takes = self.answer(content)
        end = self.now + takes
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        try:
            while self.now < end:  # noqa: ASYNC110  the clock moves in `sleep`
                await asyncio.sleep(0)
        finally:
            self.waiting -= 1
        return HttpReply(status, {}, end - due, end, ANSWER)


def run(
    plan: LoadPlan, server: FakeServer, stopped: Callable[[], bool] = lambda: False, **options: int
) -> tuple[RequestSamples, float]:
    async def main() -> tuple[RequestSamples, float]:
        load = LoadGenerator(plan, server.send, lambda: server.now, server.sleep, **options)
        return await load.run(stopped)

    return asyncio.run(main())


def open_loop(**changes: object) -> LoadPlan:
    given = {"rate": 50.0, "warm_up": 1.0, "duration": 9.0, "patience": 5.0} | changes
    return LoadPlan("http://test", REQUESTS, **given)


def test_arrivals_are_a_poisson_process():
    times = list(arrivals(200.0, 100.0, seeded(3)))
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < 100
    assert len(times) == pytest.approx(20_000, rel=0.03)
    gaps = [after - before for before, after in pairwise(times)]
    # The standard deviation of exponential gaps is their mean; that of regular gaps would be 0.
    assert statistics.stdev(gaps) == pytest.approx(1 / 200, rel=0.05)


def test_arrivals_depend_on_the_seed():
    """Each process has a seed of its own."""
    first, again = (list(arrivals(50, 5, seeded(3))) for _ in range(2))
    assert first == again
    shares = [open_loop(seed=3).share(index, 4) for index in range(4)]
    assert sum(share.rate for share in shares) == 50
    assert len({share.seed for share in shares}) == 4


def test_all_connections_are_divided_among_the_processes():
    plan = open_loop(rate=None, connections=10)
    assert [plan.share(index, 4).connections for index in range(4)] == [3, 3, 2, 2]


def test_an_open_loop_does_not_wait_for_answers():
    server = FakeServer(lambda _: (200, 3.0))
    samples, sent = run(open_loop(), server)
    assert sent == pytest.approx(10, abs=0.2)
    assert len(samples) == len(list(arrivals(50, 10, seeded(1))))
    assert server.most_waiting > 100
    assert set(samples["status"].tolist()) == {200}
    assert set(samples["ads"].tolist()) == {1, 3}
    assert samples["tokens"].sum() == 7 * len(samples)


def test_latencies_include_the_lateness_of_the_generator():
    samples, _ = run(open_loop(), FakeServer(lambda _: (200, 0.2), oversleep=0.05))
    assert statistics.median(samples["late"]) > 0.02
    assert samples["seconds"] == pytest.approx(samples["late"] + 0.2)


def test_a_closed_loop_has_one_request_per_client():
    server = FakeServer(lambda _: (200, 0.5))
    samples, _ = run(open_loop(rate=None, connections=4), server)
    assert server.most_waiting == 4
    assert len(samples) == pytest.approx(4 * 10 / 0.5, rel=0.25)
    assert samples["late"].max() == 0


def test_requests_without_an_answer_in_time_are_unanswered():
    samples, _ = run(open_loop(), FakeServer(lambda one: (200, 1e9 if one == b"three" else 0.1)))
    slow = samples[samples["ads"] == 3]
    assert len(slow)
    assert set(slow["status"].tolist()) == {UNANSWERED}
    assert set(samples[samples["ads"] == 1]["status"].tolist()) == {200}


def test_requests_above_the_bound_are_held_back():
    server = FakeServer(lambda _: (200, 3.0))
    samples, _ = run(open_loop(), server, max_in_flight=20)
    assert server.most_waiting == 20
    assert 0 < (samples["status"] == HELD_BACK).sum() < len(samples)


def test_a_closed_loop_pauses_after_a_lost_request():
    server = FakeServer(lambda _: (LOST, 0.0))
    samples, _ = run(open_loop(rate=None, connections=1), server)
    assert 0 < len(samples) <= 101


def test_a_stop_ends_a_load_without_unanswered_requests():
    server = FakeServer(lambda _: (200, 1.0))
    samples, sent = run(open_loop(), server, lambda: server.now >= 104)
    assert sent == pytest.approx(4, abs=0.2)
    assert set(samples["status"].tolist()) == {200}
    assert samples["intended"].max() < 3.2


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (b'{"tokens": 5}', 5),
        (b'{"results": [{"tokens": 5}, {"tokens": 6}]}', 11),
        (b'{"label": "of another API"}', 0),
        (b"[1]", 0),
        (b"<html>", 0),
    ],
)
def test_tokens_are_read_from_answers_of_classify(body, tokens):
    assert tokens_of(body) == tokens
