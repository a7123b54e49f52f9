import asyncio
from contextlib import nullcontext

import pytest

from app.core.errors import NotReadyError, OverloadedError
from app.serving.metrics import Metrics
from app.serving.scheduling.admission import AdmissionController
from app.serving.scheduling.lanes import Lane
from app.serving.scheduling.shared_counters import SharedCounters


@pytest.fixture
def controller():
    """Admits 10 ads and 5 seconds of work, at 100 tokens a second."""
    return AdmissionController(10, 5.0, SharedCounters.for_one_process(100.0), Metrics())


def test_an_idle_service_admits_a_request_of_any_length(controller):
    with controller.admit(10, 10**6, Lane.BULK):
        assert controller.ads == 10


def test_the_work_ahead_decides_not_the_request_itself(controller):
    with controller.admit(1, 500, Lane.BULK), controller.admit(1, 10**6, Lane.BULK):
        with pytest.raises(OverloadedError):
            controller.admit(1, 1, Lane.BULK)


def test_leaving_the_block_returns_everything_once(controller):
    with controller.admit(3, 90, Lane.INTERACTIVE) as ticket:
        ticket.change(-1, -30)
    ticket.change(-1, -30)
    assert controller.ads == 0
    with controller.admit(10, 1, Lane.INTERACTIVE):
        assert controller.ads == 10


def test_correct_replaces_the_estimated_tokens(controller):
    with controller.admit(1, 10**6, Lane.BULK) as ticket:
        ticket.correct(400)
        with controller.admit(1, 1, Lane.BULK):
            assert controller.ads == 2


def test_interactive_ads_wait_for_interactive_and_a_share_of_bulk(controller):
    with controller.admit(1, 10**6, Lane.BULK):
        with controller.admit(1, 300, Lane.INTERACTIVE), controller.admit(1, 100, Lane.INTERACTIVE):
            # 400 tokens, and a third of that for the bulk ads between them: above 5 seconds.
            with pytest.raises(OverloadedError) as caught:
                controller.admit(1, 1, Lane.INTERACTIVE)
    assert caught.value.retry_after == 1


def test_after_close_requests_get_the_reason(controller):
    controller.close("The service is shutting down.")
    with pytest.raises(NotReadyError, match="shutting down"):
        controller.admit(1, 1, Lane.INTERACTIVE)


def test_the_metrics_show_readiness_and_queued_seconds():
    metrics = Metrics()
    value = metrics.registry.get_sample_value
    assert value("doppelkopf_ready") == 0
    counters = SharedCounters.for_one_process(100.0)
    controller = AdmissionController(10, 5.0, counters, metrics)
    assert (value("doppelkopf_ready"), value("doppelkopf_max_queue_seconds")) == (1, 5)
    with controller.admit(1, 300, Lane.INTERACTIVE), controller.admit(1, 50, Lane.BULK):
        assert value("doppelkopf_queued_seconds") == 3.5
        counters.loads[0].rate = 50.0
        assert value("doppelkopf_queued_seconds") == 7
    assert value("doppelkopf_queued_seconds") == 0
    controller.close("The service is shutting down.")
    assert value("doppelkopf_ready") == 0


def test_emptied_waits_for_the_last_request():
    async def main():
        controller = AdmissionController(10, 5.0, SharedCounters.for_one_process(100.0), Metrics())
        with controller.admit(1, 1, Lane.BULK):
            waiting = asyncio.create_task(controller.emptied())
            await asyncio.sleep(0)
            assert not waiting.done()
        await asyncio.wait_for(waiting, 5)

    asyncio.run(main())


async def run_pending_tasks() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_waiting_job_is_admitted_once_there_is_capacity():
    async def main():
        controller = AdmissionController(10, 5.0, SharedCounters.for_one_process(100.0), Metrics())
        # Half of the five seconds is left to requests.
        ahead = controller.admit(1, 251, Lane.INTERACTIVE)
        waiting = asyncio.create_task(controller.wait_for_capacity(1, 100))
        await run_pending_tasks()
        assert not waiting.done()
        ahead.correct(250)
        with await asyncio.wait_for(waiting, 5) as ticket:
            assert (controller.ads, ticket.lane) == (2, Lane.BULK)

    asyncio.run(main())


def test_waiting_jobs_leave_half_of_the_ads_to_requests():
    async def main():
        controller = AdmissionController(10, 5.0, SharedCounters.for_one_process(100.0), Metrics())
        admitted = [
            await controller.wait_for_capacity(3, 1),
            await controller.wait_for_capacity(2, 1),
        ]
        waiting = asyncio.create_task(controller.wait_for_capacity(3, 1))
        admitted.append(controller.admit(1, 1, Lane.BULK))
        await run_pending_tasks()
        assert not waiting.done()
        admitted.pop().__exit__(None, None, None)
        await asyncio.wait_for(waiting, 5)
        assert controller.ads == 8

    asyncio.run(main())


def test_an_idle_service_admits_a_waiting_job_of_any_size():
    async def main():
        controller = AdmissionController(3, 5.0, SharedCounters.for_one_process(100.0), Metrics())
        await asyncio.wait_for(controller.wait_for_capacity(3, 10**6), 5)
        assert controller.ads == 3

    asyncio.run(main())


def test_waiting_jobs_keep_the_limit_and_their_order():
    async def main():
        controller = AdmissionController(4, 5.0, SharedCounters.for_one_process(100.0), Metrics())
        admitted = controller.admit(2, 1, Lane.BULK)
        many, one = (asyncio.create_task(controller.wait_for_capacity(ads, 1)) for ads in (3, 1))
        await run_pending_tasks()
        assert not many.done()
        assert not one.done()
        admitted.__exit__(None, None, None)
        await asyncio.wait_for(many, 5)
        await run_pending_tasks()
        assert not one.done()
        (await many).__exit__(None, None, None)
        await asyncio.wait_for(one, 5)

    asyncio.run(main())


def test_a_waiting_job_sees_capacity_freed_by_another_process(tmp_path):
    async def main():
        SharedCounters.create(tmp_path / "counters", 2, 1).loads[0].rate = 100.0
        here, there = (
            AdmissionController(
                2,
                5.0,
                SharedCounters.open(tmp_path / "counters", 2, 1, row),
                Metrics(),
                poll_seconds=0.001,
            )
            for row in range(2)
        )
        admitted = there.admit(2, 1, Lane.BULK)
        waiting = asyncio.create_task(here.wait_for_capacity(1, 1))
        await run_pending_tasks()
        assert not waiting.done()
        admitted.__exit__(None, None, None)
        with await asyncio.wait_for(waiting, 5):
            assert there.ads == 1

    asyncio.run(main())


def test_a_waiting_job_goes_to_the_engine_with_least_work():
    async def main():
        counters = SharedCounters(bytearray(1000), 2, 0, nullcontext())
        for load in counters.loads:
            load.rate = 100.0
        controller = AdmissionController(100, 5.0, counters, Metrics())
        counters.loads[0].count(Lane.BULK, 1, 1000)
        with await asyncio.wait_for(controller.wait_for_capacity(1, 100), 5) as ticket:
            assert ticket.load is counters.loads[1]

    asyncio.run(main())


def test_waiting_jobs_are_admitted_in_order():
    async def main():
        controller, order = (
            AdmissionController(2, 5.0, SharedCounters.for_one_process(100.0), Metrics()),
            [],
        )

        async def job(name):
            with await controller.wait_for_capacity(2, 1):
                order.append(name)
                await asyncio.sleep(0)

        await asyncio.wait_for(asyncio.gather(*map(job, "abcd")), 5)
        assert order == [*"abcd"]

    asyncio.run(main())


def test_a_cancelled_waiting_job_does_not_block_the_next():
    async def main():
        controller = AdmissionController(2, 5.0, SharedCounters.for_one_process(100.0), Metrics())
        admitted = controller.admit(2, 1, Lane.BULK)
        first, second = (asyncio.create_task(controller.wait_for_capacity(1, 1)) for _ in range(2))
        await run_pending_tasks()
        first.cancel()
        await run_pending_tasks()
        admitted.__exit__(None, None, None)
        await asyncio.wait_for(second, 5)
        assert controller.ads == 1

    asyncio.run(main())


def test_close_ends_the_wait_of_jobs():
    async def main():
        controller = AdmissionController(2, 5.0, SharedCounters.for_one_process(100.0), Metrics())
        controller.admit(2, 1, Lane.BULK)
        closed = asyncio.create_task(controller.closed())
        waiting = [asyncio.create_task(controller.wait_for_capacity(1, 1)) for _ in range(2)]
        await run_pending_tasks()
        assert not closed.done()
        controller.close("The service is shutting down.")
        for one in waiting:
            with pytest.raises(NotReadyError, match="shutting down"):
                await asyncio.wait_for(one, 5)
        await asyncio.wait_for(closed, 5)

    asyncio.run(main())


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def timed(clock):
    """As `controller`, with a clock that the test moves."""
    return AdmissionController(10, 5.0, SharedCounters.for_one_process(100.0), Metrics(), clock)


def refusals(controller: AdmissionController, tokens: int, count: int) -> list[int]:
    """Send `count` requests that are refused; return the `Retry-After` of each."""
    retry_after = []
    for _ in range(count):
        with pytest.raises(OverloadedError) as caught:
            controller.admit(1, tokens, Lane.BULK)
        retry_after.append(caught.value.retry_after)
    return retry_after


def test_each_refused_request_gets_a_later_time(timed):
    with timed.admit(1, 700, Lane.BULK):
        assert refusals(timed, 100, 4) == [2, 3, 4, 5]


def test_reserved_time_passes(timed, clock):
    with timed.admit(1, 700, Lane.BULK):
        refusals(timed, 100, 4)
        clock.now = 100.0
        assert refusals(timed, 100, 1) == [2]


def test_retry_after_is_at_most_a_minute(timed):
    with timed.admit(1, 700, Lane.BULK):
        assert max(refusals(timed, 10_000, 20)) == 60


def test_clients_that_obey_retry_after_are_admitted(timed, clock):
    """40 clients come back when they are told to; the engine works at its rate. 3 tries suffice."""
    tokens, tries = 100, dict.fromkeys(range(40), 0)
    due: dict[int, list[int]] = {0: list(tries)}
    running = []
    for second in range(120):
        clock.now = float(second)
        if running and second:
            running.pop(0).__exit__(None, None, None)  # one second's work
        for client in due.pop(second, []):
            tries[client] += 1
            try:
                running.append(timed.admit(1, tokens, Lane.INTERACTIVE))
            except OverloadedError as error:
                due.setdefault(second + error.retry_after, []).append(client)
    assert not running
    assert not due
    assert max(tries.values()) <= 3


def test_retry_after_is_at_most_the_time_of_the_queue(timed):
    with timed.admit(1, 100, Lane.BULK):
        with pytest.raises(OverloadedError) as caught:
            timed.admit(10, 1000, Lane.BULK)
    assert caught.value.retry_after == 1


def test_a_request_goes_to_the_engine_with_the_shortest_wait(tmp_path):
    """It is refused if even that wait is too long."""
    counters = SharedCounters.create(tmp_path / "counters", rows=1, engines=2)
    slow, fast = counters.loads
    slow.rate, fast.rate = 100.0, 1000.0
    controller = AdmissionController(10, 5.0, counters, Metrics())
    assert controller.rate == 1100
    with (
        controller.admit(1, 600, Lane.BULK) as first,
        controller.admit(1, 9000, Lane.BULK) as second,
    ):
        assert (first.load, second.load) == (slow, fast)
        # 6 seconds of work are ahead at one engine, 9 at the other.
        with pytest.raises(OverloadedError) as caught:
            controller.admit(1, 1, Lane.BULK)
        assert caught.value.retry_after == 1
        assert controller.ads == 2
    assert (slow.ads, fast.ads) == (0, 0)
