"""The batcher with a fake engine: a batch begins, and ends only when the test lets it."""

import asyncio
import threading
from collections.abc import Callable, Coroutine

import numpy as np
import pytest

from app.core.errors import EngineError, FatalEngineError, NotReadyError, OverloadedError
from app.core.types import Encoded, Scores
from app.serving.metrics import Metrics
from app.serving.scheduling.lanes import Lane
from app.serving.scheduling.micro_batcher import MicroBatcher


def ad(tokens: int = 10) -> Encoded:
    return Encoded((np.zeros(tokens, dtype=np.int32),))


def score(encoded: Encoded) -> Scores:
    return Scores({"job_category": np.array([encoded.tokens], dtype=np.float32)})


class HeldEngine:
    """Runs a batch when the test releases it, with the outcome the test chooses."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.outcome: Callable[[list[Encoded]], list[Scores | EngineError]] = lambda batch: [
            score(item) for item in batch
        ]
        self._go = threading.Semaphore(0)
        self._began = threading.Semaphore(0)

    def run(self, batch):
        self.batches.append([item.tokens for item in batch])
        self._began.release()
        self._go.acquire()
        return self.outcome(batch)

    def release(self, batches: int = 1) -> None:
        self._go.release(batches)

    async def began(self) -> None:
        """Wait until one more batch has begun."""
        assert await asyncio.to_thread(self._began.acquire, timeout=10)


class House:
    """A batcher with its engine, clock and metrics."""

    def __init__(self, **options) -> None:
        self.engine, self.metrics, self.now, self.fatal = HeldEngine(), Metrics(), 0.0, 0
        self.batcher = MicroBatcher(
            self.engine.run,
            metrics=self.metrics,
            clock=lambda: self.now,
            on_fatal=self._count_fatal,
            **{
                "max_batch_tokens": 100,
                "max_queued_ads": 50,
                "max_queue_seconds": 5.0,
                "tokens_per_second": 100.0,
                **options,
            },
        )
        self.batcher.start()

    def _count_fatal(self, _error: FatalEngineError) -> None:
        self.fatal += 1

    async def classify(self, *ads: Encoded, lane: Lane = Lane.INTERACTIVE) -> list[Scores]:
        with self.batcher.house.admit(
            len(ads), sum(item.tokens for item in ads), lane
        ) as admission:
            return await self.batcher.classify(ads, admission)

    def begin(self, *ads: Encoded, lane: Lane = Lane.INTERACTIVE) -> asyncio.Task[list[Scores]]:
        return asyncio.create_task(self.classify(*ads, lane=lane))

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"doppelkopf_{name}", labels) or 0.0


def in_house(test: Callable[[House], Coroutine[None, None, None]], **options: object) -> None:
    """Run a test inside an event loop, and see that it leaves nothing counted as waiting."""

    async def main() -> None:
        house = House(**options)
        async with asyncio.timeout(20):
            await test(house)
            house.engine.release(1000)
            await house.batcher.drain(5)
        assert house.value("queued_ads") == 0
        assert house.value("queued_tokens") == 0

    asyncio.run(main())


async def turn() -> None:
    """Let everything that can go on in the event loop go on."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_lone_ad_goes_at_once():
    async def test(house: House) -> None:
        assert house.value("max_batch_tokens") == 100
        task = house.begin(ad(7))
        await house.engine.began()
        house.engine.release()
        assert (await task)[0].probabilities["job_category"] == [7]
        assert house.engine.batches == [[7]]

    in_house(test)


def test_while_a_batch_runs_the_next_one_forms():
    async def test(house: House) -> None:
        first = house.begin(ad(1))
        await house.engine.began()
        rest = [house.begin(ad(tokens)) for tokens in (2, 3, 4)]
        await turn()
        house.engine.release(2)
        await asyncio.gather(first, *rest)
        assert house.engine.batches == [[1], [2, 3, 4]]

    in_house(test)


def test_a_request_of_many_ads_gets_its_answers_in_order_over_several_batches():
    async def test(house: House) -> None:
        house.engine.release(10)
        sizes = [60, 50, 40, 30, 20]
        answers = await house.classify(*(ad(size) for size in sizes))
        assert [answer.probabilities["job_category"][0] for answer in answers] == sizes
        assert all(sum(batch) <= 100 for batch in house.engine.batches)
        assert house.value("batch_ads_sum") == 5
        assert house.value("batch_tokens_sum") == 200

    in_house(test)


def test_with_depth_two_a_second_batch_is_handed_over_while_the_first_runs():
    async def test(house: House) -> None:
        tasks = [house.begin(ad(1))]
        await house.engine.began()
        tasks.append(house.begin(ad(2)))
        await house.engine.began()
        assert house.engine.batches == [[1], [2]]
        house.engine.release(2)
        await asyncio.gather(*tasks)

    in_house(test, depth=2)


def test_a_cancelled_request_frees_its_slots_and_its_work_never_runs():
    async def test(house: House) -> None:
        first = house.begin(ad(1))
        await house.engine.began()
        gone, stays = house.begin(ad(2), ad(3)), house.begin(ad(4))
        await turn()
        assert house.value("queued_ads") == 4
        gone.cancel()
        await turn()
        assert house.value("queued_ads") == 2
        house.engine.release(2)
        await asyncio.gather(first, stays)
        assert house.engine.batches == [[1], [4]]
        assert gone.cancelled()

    in_house(test)


def test_the_loop_goes_on_after_a_running_ad_was_cancelled():
    async def test(house: House) -> None:
        gone = house.begin(ad(1))
        await house.engine.began()
        gone.cancel()
        stays = house.begin(ad(2))
        house.engine.release(2)
        assert (await stays)[0].probabilities["job_category"] == [2]

    in_house(test)


def test_a_failed_batch_reaches_its_callers_only(caplog):
    async def test(house: House) -> None:
        def explode(batch):
            raise RuntimeError("a secret of the engine")

        works, house.engine.outcome = house.engine.outcome, explode
        bad = house.begin(ad(1))
        await house.engine.began()
        good = house.begin(ad(2))
        house.engine.release()
        with pytest.raises(EngineError) as caught:
            await bad
        assert "secret" not in str(caught.value)
        house.engine.outcome = works
        house.engine.release()
        assert await good
        assert house.value("engine_failures_total", kind="batch") == 1

    in_house(test)
    assert "a secret of the engine" in caplog.text


def test_one_failed_ad_harms_no_neighbour():
    async def test(house: House) -> None:
        house.engine.outcome = lambda batch: [
            EngineError("does not fit") if item.tokens == 3 else score(item) for item in batch
        ]
        hold = house.begin(ad(1))
        await house.engine.began()
        bad, good = house.begin(ad(3)), house.begin(ad(4))
        house.engine.release(2)
        await hold
        with pytest.raises(EngineError, match="does not fit"):
            await bad
        assert await good
        assert house.value("engine_failures_total", kind="ad") == 1

    in_house(test)


def test_a_wrong_number_of_results_fails_the_batch_and_hangs_nobody():
    async def test(house: House) -> None:
        house.engine.outcome = lambda _: []
        house.engine.release()
        with pytest.raises(EngineError):
            await house.classify(ad())

    in_house(test)


def test_a_lost_device_settles_everyone_refuses_newcomers_and_is_reported_once():
    async def test(house: House) -> None:
        def lost(batch):
            raise FatalEngineError("The device failed.")

        house.engine.outcome = lost
        running = house.begin(ad(1))
        await house.engine.began()
        waiting = house.begin(ad(2))
        await turn()
        house.engine.release()
        for task in (running, waiting):
            with pytest.raises(FatalEngineError):
                await task
        with pytest.raises(NotReadyError):
            await house.classify(ad())
        with pytest.raises(NotReadyError):
            house.batcher.house.require_ready()
        assert house.fatal == 1
        assert house.value("engine_failures_total", kind="fatal") == 1

    in_house(test)


def test_a_slow_queue_refuses_single_ads_and_batches_alike():
    async def test(house: House) -> None:
        waiting = house.begin(*(ad(100) for _ in range(6)), lane=Lane.BULK)
        await house.engine.began()
        for ads, retry_after in (([ad()], 1), ([ad()] * 10, 2)):
            with pytest.raises(OverloadedError) as caught:
                await house.classify(*ads, lane=Lane.BULK)
            # 600 tokens at 100 a second are ahead, 5 seconds of them are allowed; the second one
            # comes back behind the first.
            assert caught.value.retry_after == retry_after
        assert house.value("rejected_total", reason="queue_slow") == 2
        house.engine.release(6)
        await waiting

    in_house(test)


def test_interactive_ads_are_not_refused_for_bulk_ads_they_overtake():
    async def test(house: House) -> None:
        bulk = house.begin(*(ad(100) for _ in range(6)), lane=Lane.BULK)
        await house.engine.began()
        single = house.begin(ad(5))
        house.engine.release(7)
        assert await single
        await bulk

    in_house(test)


def test_the_house_holds_no_more_ads_than_it_may():
    async def test(house: House) -> None:
        waiting = house.begin(*(ad(1) for _ in range(49)))
        await house.engine.began()
        with pytest.raises(OverloadedError):
            await house.classify(ad(1), ad(1))
        assert house.value("rejected_total", reason="queue_full") == 1
        last = house.begin(ad(1))
        house.engine.release(2)
        await asyncio.gather(waiting, last)

    in_house(test)


def test_retry_after_grows_with_the_work_ahead():
    async def test(house: House) -> None:
        waiting = house.begin(*(ad(100) for _ in range(30)))
        await house.engine.began()
        with pytest.raises(OverloadedError) as caught:
            await house.classify(ad())
        assert caught.value.retry_after == 25
        assert "25 s" in str(caught.value)
        house.engine.release(30)
        await waiting

    in_house(test)


def test_the_measured_rate_follows_the_engine():
    async def test(house: House) -> None:
        def slow(batch):
            house.now += 10.0
            return [score(item) for item in batch]

        house.engine.outcome = slow
        house.engine.release(100)
        # Full batches at 10 tokens a second, where 100 were promised.
        await house.classify(*(ad(100) for _ in range(40)), lane=Lane.BULK)
        hold = house.begin(ad(100), lane=Lane.BULK)
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await house.classify(ad(), lane=Lane.BULK)
        await hold

    in_house(test)


def test_drain_finishes_what_was_admitted_and_refuses_the_rest():
    async def test(house: House) -> None:
        running = house.begin(ad(1))
        await house.engine.began()
        waiting = house.begin(ad(2))
        await turn()
        draining = asyncio.create_task(house.batcher.drain(10))
        await turn()
        with pytest.raises(NotReadyError, match="shutting down"):
            await house.classify(ad())
        house.engine.release(2)
        await draining
        assert running.done()
        assert waiting.done()
        assert (await waiting)[0].probabilities["job_category"] == [2]

    in_house(test)


def test_drain_gives_up_after_its_grace_and_leaves_nobody_waiting():
    async def test(house: House) -> None:
        running = house.begin(ad(1))
        await house.engine.began()
        waiting = house.begin(ad(2))
        await turn()
        draining = asyncio.create_task(house.batcher.drain(0))
        with pytest.raises(NotReadyError):
            await waiting
        house.engine.release()
        await draining
        assert await running

    in_house(test)


def test_waits_are_measured_from_queue_to_batch():
    async def test(house: House) -> None:
        first = house.begin(ad(1))
        await house.engine.began()
        second = house.begin(ad(2))
        await turn()
        house.now += 3.0
        house.engine.release(2)
        await asyncio.gather(first, second)
        assert house.value("queue_seconds_sum") == 3.0
        assert house.value("queue_seconds_count") == 2

    in_house(test)


def test_a_request_that_waits_too_long_after_all_is_refused_whole():
    async def test(house: House) -> None:
        running = house.begin(ad(1))
        await house.engine.began()
        late = house.begin(ad(60), ad(70))
        await turn()
        house.now += 5.5
        fresh = house.begin(ad(3))
        await turn()
        house.engine.release(2)
        with pytest.raises(OverloadedError):
            await late
        assert await running
        assert await fresh
        assert house.engine.batches == [[1], [3]]
        assert house.value("rejected_total", reason="queue_late") == 1

    in_house(test)


def test_a_request_that_has_begun_is_finished_however_long_it_takes():
    async def test(house: House) -> None:
        request = house.begin(ad(60), ad(70), ad(80))
        await house.engine.began()
        house.now += 100.0
        house.engine.release(3)
        assert len(await request) == 3

    in_house(test)


def test_bulk_ads_may_wait_as_long_as_their_share_needs():
    async def test(house: House) -> None:
        running = house.begin(ad(1))
        await house.engine.began()
        bulk = house.begin(ad(100), lane=Lane.BULK)
        await turn()
        house.now += 19.5
        house.engine.release(2)
        assert await bulk
        assert await running

    in_house(test)


def test_a_batch_that_does_not_come_back_settles_everyone():
    async def test(house: House) -> None:
        running = house.begin(ad(1))
        await house.engine.began()
        waiting = house.begin(ad(2))
        await turn()
        for _ in range(12):
            house.batcher.watchdog.tick()
        for call in (running, waiting):
            with pytest.raises(FatalEngineError, match="does not come back"):
                await call
        assert house.fatal == 1
        with pytest.raises(NotReadyError):
            await house.classify(ad())
        # Nobody waits for the batch, not even the end of the service.
        await house.batcher.drain(10)
        house.engine.release()

    in_house(test, hang_seconds=10.0)


def test_what_ends_the_engines_thread_does_not_end_the_loop():
    async def test(house: House) -> None:
        def end(batch):
            raise SystemExit

        house.engine.outcome = end
        house.engine.release()
        with pytest.raises(FatalEngineError):
            await house.classify(ad())
        assert house.fatal == 1

    in_house(test)


def test_a_request_admitted_before_the_device_was_lost_is_settled_too():
    async def test(house: House) -> None:
        def lose(batch):
            raise FatalEngineError("The device failed.")

        with house.batcher.house.admit(1, 10, Lane.INTERACTIVE) as tokenizing:
            house.engine.outcome = lose
            house.engine.release()
            with pytest.raises(FatalEngineError):
                await house.classify(ad())
            with pytest.raises(FatalEngineError):
                await house.batcher.classify([ad()], tokenizing)

    in_house(test)


def test_a_successor_admits_into_the_same_house_and_keeps_the_measured_rate():
    async def test():
        house = House(tokens_per_second=100.0)
        task = asyncio.create_task(house.classify(ad(90)))
        await house.engine.began()
        # Measured beside an engine at work, its rate came out low.
        successor = House(house=house.batcher.house, tokens_per_second=40.0)
        shared = successor.batcher.house
        assert shared is house.batcher.house
        assert (shared.ads, shared.rate) == (1, 100.0)
        House(house=shared, tokens_per_second=400.0)
        assert shared.rate == 400.0
        house.engine.release()
        await task
        assert shared.ads == 0

    asyncio.run(test())


def test_a_retired_batcher_finishes_its_batch_frees_its_engine_and_takes_no_more():
    async def test():
        freed = threading.Event()
        house = House(free=freed.set)
        task = asyncio.create_task(house.classify(ad()))
        await house.engine.began()
        leaving = asyncio.create_task(house.batcher.retire())
        await asyncio.wait({leaving}, timeout=0.05)
        assert not freed.is_set()
        house.engine.release()
        await leaving
        assert freed.is_set()
        assert len(await task) == 1
        with pytest.raises(NotReadyError, match="replaced"):
            await house.classify(ad())
        assert house.batcher.house.ads == 0
        house.batcher.house.require_ready()

    asyncio.run(test())


def test_an_engine_is_not_freed_at_the_processs_end():
    """It may hang, and what frees it would wait for it."""

    async def test():
        freed = threading.Event()
        house = House(free=freed.set)
        await house.batcher.drain(1)
        assert not freed.is_set()

    asyncio.run(test())
