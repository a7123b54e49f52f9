import asyncio

import pytest

from app.admission import House
from app.errors import NotReadyError, OverloadedError
from app.lanes import Lane
from app.metrics import Metrics


@pytest.fixture
def house():
    """At most 10 ads, 5 seconds ahead, at 100 tokens a second."""
    return House(10, 5.0, 100.0, Metrics())


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
    house = House(10, 5.0, 100.0, metrics)
    assert (value("doppelkopf_ready"), value("doppelkopf_max_queue_seconds")) == (1, 5)
    with house.admit(1, 300, Lane.INTERACTIVE), house.admit(1, 50, Lane.BULK):
        assert value("doppelkopf_queued_seconds") == 3.5
        house.rate = 50.0
        assert value("doppelkopf_queued_seconds") == 7
    assert value("doppelkopf_queued_seconds") == 0
    house.close("The service is shutting down.")
    assert value("doppelkopf_ready") == 0


def test_emptied_waits_for_the_last_to_leave():
    async def main():
        house = House(10, 5.0, 100.0, Metrics())
        with house.admit(1, 1, Lane.BULK):
            waiting = asyncio.create_task(house.emptied())
            await asyncio.sleep(0)
            assert not waiting.done()
        await asyncio.wait_for(waiting, 5)

    asyncio.run(main())
