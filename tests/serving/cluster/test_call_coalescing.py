"""What travels together, and what becomes of those who leave or fail on the way."""

import asyncio

import pytest

from app.serving.cluster.call_coalescing import MAX_ITEMS, CallCoalescer


class Way:
    """Carries items, each as long as the test holds it; the result of an item is twice the item."""

    def __init__(self):
        self.carried, self.cancelled, self.gates = [], [], []
        self._more = asyncio.Condition()

    async def send(self, items):
        async with self._more:
            self.carried.append(items)
            self._more.notify_all()
        self.gates.append(gate := asyncio.get_running_loop().create_future())
        try:
            await gate
        except asyncio.CancelledError:
            self.cancelled.append(items)
            raise
        return [2 * item for item in items]

    async def until_carried(self, calls):
        async with asyncio.timeout(10), self._more:
            await self._more.wait_for(lambda: len(self.carried) >= calls)


def run(test):
    async def main():
        way = Way()
        await test(way, CallCoalescer(way.send))

    asyncio.run(main())


def asking(together, *items):
    return [asyncio.create_task(together.ask(item)) for item in items]


def test_one_alone_goes_at_once_and_those_of_the_same_moment_go_with_it():
    async def test(way, together):
        asked = asking(together, 1, 2, 3)
        await way.until_carried(1)
        assert way.carried == [[1, 2, 3]]
        way.gates[0].set_result(None)
        assert await asyncio.gather(*asked) == [2, 4, 6]

    run(test)


def test_behind_others_the_next_waits_for_company_but_not_for_their_end():
    async def test(way, together):
        first = asking(together, 1)
        await way.until_carried(1)
        asked = asking(together, 2)
        for _ in range(5):
            await asyncio.sleep(0)
        asked += asking(together, 3)
        assert way.carried == [[1]]
        await way.until_carried(2)
        assert way.carried == [[1], [2, 3]]
        way.gates[1].set_result(None)
        assert await asyncio.gather(*asked) == [4, 6]
        assert not first[0].done()
        way.gates[0].set_result(None)
        assert await first[0] == 2

    run(test)


def test_a_full_call_waits_for_nobody():
    async def test(way, together):
        asking(together, 0)
        await way.until_carried(1)
        asking(together, *range(MAX_ITEMS + 1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [len(items) for items in way.carried] == [1, MAX_ITEMS]
        await way.until_carried(3)
        assert len(way.carried[2]) == 1

    run(test)


def test_who_leaves_before_the_call_does_not_travel():
    async def test(way, together):
        asked = asking(together, 1, 2)
        await asyncio.sleep(0)
        asked[0].cancel()
        await way.until_carried(1)
        assert way.carried == [[2]]

    run(test)


def test_a_call_that_nobody_waits_for_is_cancelled_and_no_other():
    async def test(way, together):
        asked = asking(together, 1, 2)
        await way.until_carried(1)
        asked[0].cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not way.cancelled
        asked[1].cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert way.cancelled == [[1, 2]]

    run(test)


def test_a_failed_call_fails_all_that_travelled_and_the_next_goes_on():
    async def test(way, together):
        asked = asking(together, 1, 2)
        await way.until_carried(1)
        way.gates[0].set_exception(KeyError("lost"))
        for one in asked:
            with pytest.raises(KeyError, match="lost"):
                await one
        after = asking(together, 3)
        await way.until_carried(2)
        way.gates[1].set_result(None)
        assert await after[0] == 6

    run(test)
