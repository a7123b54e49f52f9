import asyncio

from app.serving.request_trace import Trace, current, detached, set_current


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def test_a_stage_lasts_until_the_next_one_starts():
    clock = Clock()
    trace = Trace("a", clock)
    clock.advance(1)
    trace.enter("tokenize")
    clock.advance(2)
    trace.enter("queue")
    clock.advance(4)
    trace.leave()
    clock.advance(8)
    assert trace.stages() == {"tokenize": 2, "queue": 4}
    assert trace.seconds == 15


def test_the_current_stage_counts_up_to_now():
    clock = Clock()
    trace = Trace("a", clock)
    trace.enter("queue")
    clock.advance(3)
    assert trace.stages() == {"queue": 3}
    clock.advance(1)
    assert trace.stages() == {"queue": 4}


def test_entering_a_stage_again_adds_to_it():
    clock = Clock()
    trace = Trace("a", clock)
    for _ in range(2):
        trace.enter("batch")
        clock.advance(1)
        trace.enter("batch")
        clock.advance(1)
        trace.leave()
        clock.advance(5)
    assert trace.stages() == {"batch": 4}


def test_merge_adds_stages_and_tokens_of_another_process():
    clock = Clock()
    trace = Trace("a", clock)
    trace.enter("queue")
    clock.advance(1)
    trace.leave()
    trace.merge({"queue": 2.0, "batch": 4.0}, 7)
    trace.merge({"batch": 0.5}, 1)
    assert trace.stages() == {"queue": 3, "batch": 4.5}
    assert trace.tokens == 8


def test_server_timing_is_in_milliseconds_and_ends_with_the_total():
    clock = Clock()
    trace = Trace("a", clock)
    trace.enter("tokenize")
    clock.advance(0.0015)
    trace.leave()
    clock.advance(0.25)
    assert trace.server_timing() == "tokenize;dur=1.50, total;dur=251.50"


def test_a_task_has_the_trace_of_its_request():
    async def request(name: str) -> str:
        set_current(Trace(name))
        return await asyncio.create_task(current_id())

    async def current_id() -> str:
        await asyncio.sleep(0)
        return current().request_id

    async def main() -> None:
        names = [str(number) for number in range(5)]
        assert await asyncio.gather(*map(request, names)) == names
        assert current().request_id == ""

    asyncio.run(main())


def test_detached_work_has_the_request_id_but_is_not_counted():
    trace = Trace("a")
    set_current(trace)
    with detached():
        current().ads += 3
        current().enter("queue")
        assert current().request_id == "a"
    assert current() is trace
    assert (trace.ads, trace.stages()) == (0, {})
