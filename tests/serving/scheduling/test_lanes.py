import asyncio

import numpy as np
import pytest

from app.core.types import EncodedAd
from app.serving.scheduling.lanes import BULK_SHARE, Lane, Lanes, QueuedAd


@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def entries(loop, *tokens):
    return [
        QueuedAd(EncodedAd((np.zeros(count, dtype=np.int32),)), loop.create_future(), 0.0)
        for count in tokens
    ]


def test_a_batch_keeps_the_budget_and_the_order(loop):
    lanes, ads = Lanes(), entries(loop, 40, 40, 40)
    lanes.add(ads, Lane.INTERACTIVE)
    assert lanes.take(100) == ads[:2]
    assert lanes.take(100) == ads[2:]
    assert lanes.take(100) == []


def test_an_ad_above_the_budget_is_a_whole_batch(loop):
    lanes, ads = Lanes(), entries(loop, 500, 10)
    lanes.add(ads, Lane.INTERACTIVE)
    assert lanes.take(100) == ads[:1]
    assert lanes.take(100) == ads[1:]


def test_interactive_ads_overtake_bulk_ads(loop):
    lanes = Lanes()
    bulk, interactive = entries(loop, 60, 60), entries(loop, 60)
    lanes.add(bulk, Lane.BULK)
    lanes.add(interactive, Lane.INTERACTIVE)
    assert lanes.take(100) == interactive


def test_bulk_ads_fill_what_interactive_ads_leave(loop):
    lanes = Lanes()
    bulk, interactive = entries(loop, 30, 30), entries(loop, 60)
    lanes.add(bulk, Lane.BULK)
    lanes.add(interactive, Lane.INTERACTIVE)
    assert lanes.take(100) == [*interactive, bulk[0]]


def test_bulk_ads_get_their_share_under_endless_interactive_load(loop):
    lanes = Lanes()
    lanes.add(entries(loop, *[80] * 50), Lane.BULK)
    lanes.add(entries(loop, *[10] * 1000), Lane.INTERACTIVE)
    taken = {10: 0, 80: 0}
    for _ in range(40):
        for entry in lanes.take(100):
            taken[entry.tokens] += entry.tokens
    share = taken[80] / sum(taken.values())
    assert share == pytest.approx(BULK_SHARE, abs=0.05)


def test_an_empty_bulk_lane_earns_no_credit(loop):
    lanes = Lanes()
    for _ in range(20):
        lanes.take(100)
    bulk, interactive = entries(loop, 90), entries(loop, 90)
    lanes.add(bulk, Lane.BULK)
    lanes.add(interactive, Lane.INTERACTIVE)
    assert lanes.take(100) == interactive


def test_ads_whose_callers_left_are_dropped(loop):
    lanes, ads = Lanes(), entries(loop, 40, 40, 40)
    lanes.add(ads, Lane.BULK)
    ads[0].future.cancel()
    ads[1].future.cancel()
    assert lanes.take(100) == ads[2:]


def test_clear_returns_all_ads_once(loop):
    lanes, bulk, interactive = Lanes(), entries(loop, 1), entries(loop, 2)
    lanes.add(bulk, Lane.BULK)
    lanes.add(interactive, Lane.INTERACTIVE)
    assert lanes.clear() == [*interactive, *bulk]
    assert lanes.clear() == []


def test_expire_returns_expired_ads_only(loop):
    lanes, (first, second) = Lanes(), entries(loop, 1, 2)
    first.expires_at, second.expires_at = 5.0, 6.0
    lanes.add([first, second], Lane.BULK)
    assert lanes.expire(5.0) == []
    assert lanes.expire(5.5) == [first]
    assert lanes.take(100) == [second]
