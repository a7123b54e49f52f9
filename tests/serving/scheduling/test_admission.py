import asyncio
from contextlib import nullcontext

import pytest

from app.core.errors import NotReadyError, OverloadedError
from app.serving.metrics import Metrics
from app.serving.scheduling.admission import AdmissionController
from app.serving.scheduling.lanes import Lane
from app.serving.scheduling.shared_counters import SharedCounters


@pytest.fixture
def house():
    """At most 10 ads, 5 seconds ahead, at 100 tokens a second."""
    return AdmissionController(10, 5.0, SharedCounters.of_one(100.0), Metrics())


def test_an_idle_house_takes_a_request_of_any_length(house):
    with house.admit(10, 10**6, Lane.BULK):
        assert house.ads == 10


def test_what_is_ahead_decides_and_not_the_request_itself(house):
    with house.admit(1, 500, Lane.BULK), house.admit(1, 10**6, Lane.BULK):
        with pytest.raises(OverloadedError):
            house.admit(1, 1, Lane.BULK)


def test_leaving_gives_everything_back_once(house):
    with house.admit(3, 90, Lane.INTERACTIVE) as admission:
        admission.change(-1, -30)
    admission.change(-1, -30)
    assert house.ads == 0
    with house.admit(10, 1, Lane.INTERACTIVE):
        assert house.ads == 10


def test_counted_tokens_take_the_place_of_estimated_ones(house):
    with house.admit(1, 10**6, Lane.BULK) as admission:
        admission.correct(400)
        with house.admit(1, 1, Lane.BULK):
            assert house.ads == 2


def test_interactive_ads_wait_for_their_own_kind_and_the_share_of_bulk(house):
    with house.admit(1, 10**6, Lane.BULK):
        with house.admit(1, 300, Lane.INTERACTIVE), house.admit(1, 100, Lane.INTERACTIVE):
            # 400 tokens, and a third of that for the bulk ads between them: above 5 seconds.
            with pytest.raises(OverloadedError) as caught:
                house.admit(1, 1, Lane.INTERACTIVE)
    assert caught.value.retry_after == 1


def test_a_closed_house_says_why(house):
    house.close("The service is shutting down.")
    with pytest.raises(NotReadyError, match="shutting down"):
        house.admit(1, 1, Lane.INTERACTIVE)


def test_the_metrics_tell_whether_it_is_open_and_how_full_it_is():
    metrics = Metrics()
    value = metrics.registry.get_sample_value
    assert value("doppelkopf_ready") == 0
    ledger = SharedCounters.of_one(100.0)
    house = AdmissionController(10, 5.0, ledger, metrics)
    assert (value("doppelkopf_ready"), value("doppelkopf_max_queue_seconds")) == (1, 5)
    with house.admit(1, 300, Lane.INTERACTIVE), house.admit(1, 50, Lane.BULK):
        assert value("doppelkopf_queued_seconds") == 3.5
        ledger.accounts[0].rate = 50.0
        assert value("doppelkopf_queued_seconds") == 7
    assert value("doppelkopf_queued_seconds") == 0
    house.close("The service is shutting down.")
    assert value("doppelkopf_ready") == 0


def test_emptied_waits_for_the_last_to_leave():
    async def main():
        house = AdmissionController(10, 5.0, SharedCounters.of_one(100.0), Metrics())
        with house.admit(1, 1, Lane.BULK):
            waiting = asyncio.create_task(house.emptied())
            await asyncio.sleep(0)
            assert not waiting.done()
        await asyncio.wait_for(waiting, 5)

    asyncio.run(main())


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_whoever_waits_comes_in_as_soon_as_there_is_spare_room():
    async def main():
        house = AdmissionController(10, 5.0, SharedCounters.of_one(100.0), Metrics())
        # Half of five seconds, so that requests are taken all the same.
        ahead = house.admit(1, 251, Lane.INTERACTIVE)
        waiting = asyncio.create_task(house.wait(1, 100))
        await settle()
        assert not waiting.done()
        ahead.correct(250)
        with await asyncio.wait_for(waiting, 5) as admission:
            assert (house.ads, admission.lane) == (2, Lane.BULK)

    asyncio.run(main())


def test_whoever_waits_leaves_half_of_the_places_to_requests():
    async def main():
        house = AdmissionController(10, 5.0, SharedCounters.of_one(100.0), Metrics())
        inside = [await house.wait(3, 1), await house.wait(2, 1)]
        waiting = asyncio.create_task(house.wait(3, 1))
        inside.append(house.admit(1, 1, Lane.BULK))
        await settle()
        assert not waiting.done()
        inside.pop().__exit__(None, None, None)
        await asyncio.wait_for(waiting, 5)
        assert house.ads == 8

    asyncio.run(main())


def test_an_empty_house_takes_those_who_wait_whatever_they_bring():
    async def main():
        house = AdmissionController(3, 5.0, SharedCounters.of_one(100.0), Metrics())
        await asyncio.wait_for(house.wait(3, 10**6), 5)
        assert house.ads == 3

    asyncio.run(main())


def test_those_who_wait_never_fill_the_house_above_its_places_nor_overtake():
    async def main():
        house = AdmissionController(4, 5.0, SharedCounters.of_one(100.0), Metrics())
        inside = house.admit(2, 1, Lane.BULK)
        many, one = (asyncio.create_task(house.wait(ads, 1)) for ads in (3, 1))
        await settle()
        assert not many.done()
        assert not one.done()
        inside.__exit__(None, None, None)
        await asyncio.wait_for(many, 5)
        await settle()
        assert not one.done()
        (await many).__exit__(None, None, None)
        await asyncio.wait_for(one, 5)

    asyncio.run(main())


def test_whoever_waits_sees_that_there_is_room_in_a_ledger_that_others_write_too(tmp_path):
    async def main():
        SharedCounters.create(tmp_path / "ledger", 2, 1).accounts[0].rate = 100.0
        here, there = (
            AdmissionController(
                2,
                5.0,
                SharedCounters.open(tmp_path / "ledger", 2, 1, row),
                Metrics(),
                poll_seconds=0.001,
            )
            for row in range(2)
        )
        inside = there.admit(2, 1, Lane.BULK)
        waiting = asyncio.create_task(here.wait(1, 1))
        await settle()
        assert not waiting.done()
        inside.__exit__(None, None, None)
        with await asyncio.wait_for(waiting, 5):
            assert there.ads == 1

    asyncio.run(main())


def test_whoever_waits_comes_in_where_least_is_ahead():
    async def main():
        ledger = SharedCounters(bytearray(1000), 2, 0, nullcontext())
        for account in ledger.accounts:
            account.rate = 100.0
        house = AdmissionController(100, 5.0, ledger, Metrics())
        ledger.accounts[0].count(Lane.BULK, 1, 1000)
        with await asyncio.wait_for(house.wait(1, 100), 5) as admission:
            assert admission.account is ledger.accounts[1]

    asyncio.run(main())


def test_those_who_wait_come_in_in_their_order():
    async def main():
        house, order = AdmissionController(2, 5.0, SharedCounters.of_one(100.0), Metrics()), []

        async def job(name):
            with await house.wait(2, 1):
                order.append(name)
                await asyncio.sleep(0)

        await asyncio.wait_for(asyncio.gather(*map(job, "abcd")), 5)
        assert order == [*"abcd"]

    asyncio.run(main())


def test_one_who_gives_up_waiting_lets_the_next_in():
    async def main():
        house = AdmissionController(2, 5.0, SharedCounters.of_one(100.0), Metrics())
        inside = house.admit(2, 1, Lane.BULK)
        first, second = (asyncio.create_task(house.wait(1, 1)) for _ in range(2))
        await settle()
        first.cancel()
        await settle()
        inside.__exit__(None, None, None)
        await asyncio.wait_for(second, 5)
        assert house.ads == 1

    asyncio.run(main())


def test_a_house_that_closes_sends_away_those_who_wait():
    async def main():
        house = AdmissionController(2, 5.0, SharedCounters.of_one(100.0), Metrics())
        house.admit(2, 1, Lane.BULK)
        closed = asyncio.create_task(house.closed())
        waiting = [asyncio.create_task(house.wait(1, 1)) for _ in range(2)]
        await settle()
        assert not closed.done()
        house.close("The service is shutting down.")
        for one in waiting:
            with pytest.raises(NotReadyError, match="shutting down"):
                await asyncio.wait_for(one, 5)
        await asyncio.wait_for(closed, 5)

    asyncio.run(main())


class Clock:
    """Seconds that pass when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def timed(clock):
    """As `house`, with a clock."""
    return AdmissionController(10, 5.0, SharedCounters.of_one(100.0), Metrics(), clock)


def refusals(house: AdmissionController, tokens: int, count: int) -> list[int]:
    """Return what so many refused requests are told."""
    told = []
    for _ in range(count):
        with pytest.raises(OverloadedError) as caught:
            house.admit(1, tokens, Lane.BULK)
        told.append(caught.value.retry_after)
    return told


def test_each_refused_request_is_told_a_time_behind_those_before(timed):
    with timed.admit(1, 700, Lane.BULK):
        assert refusals(timed, 100, 4) == [2, 3, 4, 5]


def test_what_was_promised_passes_with_time(timed, clock):
    with timed.admit(1, 700, Lane.BULK):
        refusals(timed, 100, 4)
        clock.now = 100.0
        assert refusals(timed, 100, 1) == [2]


def test_nobody_is_sent_away_for_longer_than_a_minute(timed):
    with timed.admit(1, 700, Lane.BULK):
        assert max(refusals(timed, 10_000, 20)) == 60


def test_whoever_obeys_gets_through(timed, clock):
    """Everyone who is refused comes back when told, while the engine works at its rate."""
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


def test_a_full_house_is_never_said_to_empty_more_than_once(timed):
    with timed.admit(1, 100, Lane.BULK):
        with pytest.raises(OverloadedError) as caught:
            timed.admit(10, 1000, Lane.BULK)
    assert caught.value.retry_after == 1


def test_a_request_goes_where_it_waits_least_and_is_refused_where_that_is_too_long(tmp_path):
    ledger = SharedCounters.create(tmp_path / "ledger", rows=1, engines=2)
    slow, fast = ledger.accounts
    slow.rate, fast.rate = 100.0, 1000.0
    house = AdmissionController(10, 5.0, ledger, Metrics())
    assert house.rate == 1100
    with house.admit(1, 600, Lane.BULK) as first, house.admit(1, 9000, Lane.BULK) as second:
        assert (first.account, second.account) == (slow, fast)
        # 6 seconds are ahead at the one, 9 at the other.
        with pytest.raises(OverloadedError) as caught:
            house.admit(1, 1, Lane.BULK)
        assert caught.value.retry_after == 1
        assert house.ads == 2
    assert (slow.ads, fast.ads) == (0, 0)
