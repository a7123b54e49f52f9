"""Which items share a call, and what happens if a caller leaves or the call fails."""

import asyncio

import pytest

from app.serving.cluster.call_coalescing import MAX_ITEMS, CallCoalescer


class HeldCalls:
    """Calls that end when the test opens their gates; an item's result is twice the item."""

    def __init__(self):
        self.sent, self.cancelled, self.gates = [], [], []
        self._more = asyncio.Condition()

    async def send(self, items):
        async with self._more:
            self.sent.append(items)
            self._more.notify_all()
        self.gates.append(gate := asyncio.get_running_loop().create_future())
        try:
            await gate
        except asyncio.CancelledError:
            self.cancelled.append(items)
            raise
        return [2 * item for item in items]

    async def until_sent(self, count):
        async with asyncio.timeout(10), self._more:
            await self._more.wait_for(lambda: len(self.sent) >= count)


def run(test):
    async def main():
        calls = HeldCalls()
        await test(calls, CallCoalescer(calls.send))

    asyncio.run(main())


def call(coalescer, *items):
    return [asyncio.create_task(coalescer.call(item)) for item in items]


def test_items_of_one_loop_turn_share_a_call_without_a_wait():
    async def test(calls, coalescer):
        tasks = call(coalescer, 1, 2, 3)
        await calls.until_sent(1)
        assert calls.sent == [[1, 2, 3]]
        calls.gates[0].set_result(None)
        assert await asyncio.gather(*tasks) == [2, 4, 6]

    run(test)


def test_an_item_behind_calls_in_flight_waits_for_others():
    async def test(calls, coalescer):
        first = call(coalescer, 1)
        await calls.until_sent(1)
        tasks = call(coalescer, 2)
        for _ in range(5):
            await asyncio.sleep(0)
        tasks += call(coalescer, 3)
        assert calls.sent == [[1]]
        await calls.until_sent(2)
        assert calls.sent == [[1], [2, 3]]
        calls.gates[1].set_result(None)
        assert await asyncio.gather(*tasks) == [4, 6]
        assert not first[0].done()
        calls.gates[0].set_result(None)
        assert await first[0] == 2

    run(test)


def test_a_full_call_is_sent_without_a_wait():
    async def test(calls, coalescer):
        call(coalescer, 0)
        await calls.until_sent(1)
        call(coalescer, *range(MAX_ITEMS + 1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [len(items) for items in calls.sent] == [1, MAX_ITEMS]
        await calls.until_sent(3)
        assert len(calls.sent[2]) == 1

    run(test)


def test_an_item_cancelled_before_the_call_is_not_sent():
    async def test(calls, coalescer):
        tasks = call(coalescer, 1, 2)
        await asyncio.sleep(0)
        tasks[0].cancel()
        await calls.until_sent(1)
        assert calls.sent == [[2]]

    run(test)


def test_a_call_is_cancelled_once_all_its_items_are():
    async def test(calls, coalescer):
        tasks = call(coalescer, 1, 2)
        await calls.until_sent(1)
        tasks[0].cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not calls.cancelled
        tasks[1].cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert calls.cancelled == [[1, 2]]

    run(test)


def test_a_failed_call_fails_its_items_and_no_later_ones():
    async def test(calls, coalescer):
        tasks = call(coalescer, 1, 2)
        await calls.until_sent(1)
        calls.gates[0].set_exception(KeyError("lost"))
        for one in tasks:
            with pytest.raises(KeyError, match="lost"):
                await one
        after = call(coalescer, 3)
        await calls.until_sent(2)
        calls.gates[1].set_result(None)
        assert await after[0] == 6

    run(test)
