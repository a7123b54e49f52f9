import asyncio

from app.serving.request_trace import Trace, current, detached, set_current


class Clock:
    """Seconds, as the test sets them."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


def test_each_stage_lasts_until_the_next_begins():
    clock = Clock()
    trace = Trace("a", clock)
    clock.passes(1)
    trace.enter("tokenize")
    clock.passes(2)
    trace.enter("queue")
    clock.passes(4)
    trace.leave()
    clock.passes(8)
    assert trace.stages() == {"tokenize": 2, "queue": 4}
    assert trace.seconds == 15


def test_a_stage_that_has_not_ended_counts_up_to_now():
    clock = Clock()
    trace = Trace("a", clock)
    trace.enter("queue")
    clock.passes(3)
    assert trace.stages() == {"queue": 3}
    clock.passes(1)
    assert trace.stages() == {"queue": 4}


def test_entering_a_stage_again_adds_to_it():
    clock = Clock()
    trace = Trace("a", clock)
    for _ in range(2):
        trace.enter("batch")
        clock.passes(1)
        trace.enter("batch")
        clock.passes(1)
        trace.leave()
        clock.passes(5)
    assert trace.stages() == {"batch": 4}


def test_a_part_that_went_elsewhere_adds_its_stages_and_tokens():
    clock = Clock()
    trace = Trace("a", clock)
    trace.enter("queue")
    clock.passes(1)
    trace.leave()
    trace.merge({"queue": 2.0, "batch": 4.0}, 7)
    trace.merge({"batch": 0.5}, 1)
    assert trace.stages() == {"queue": 3, "batch": 4.5}
    assert trace.tokens == 8


def test_server_timing_is_in_milliseconds_and_ends_with_the_total():
    clock = Clock()
    trace = Trace("a", clock)
    trace.enter("tokenize")
    clock.passes(0.0015)
    trace.leave()
    clock.passes(0.25)
    assert trace.server_timing() == "tokenize;dur=1.50, total;dur=251.50"


def test_a_task_follows_the_trace_of_the_request_that_started_it():
    async def request(name: str) -> str:
        set_current(Trace(name))
        return await asyncio.create_task(seen())

    async def seen() -> str:
        await asyncio.sleep(0)
        return current().request_id

    async def main() -> None:
        names = [str(number) for number in range(5)]
        assert await asyncio.gather(*map(request, names)) == names
        assert current().request_id == ""

    asyncio.run(main())


def test_what_runs_apart_is_traced_under_the_same_id_and_not_counted():
    trace = Trace("a")
    set_current(trace)
    with detached():
        current().ads += 3
        current().enter("queue")
        assert current().request_id == "a"
    assert current() is trace
    assert (trace.ads, trace.stages()) == (0, {})
