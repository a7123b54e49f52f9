"""The batcher with a fake engine whose batches end when a test releases them."""

import asyncio
import threading
from collections.abc import Callable, Coroutine

import pytest

from app.core.errors import EngineError, FatalEngineError, NotReadyError, OverloadedError
from app.core.types import EncodedAd, Scores
from app.serving.metrics import Metrics
from app.serving.scheduling.lanes import Lane
from app.serving.scheduling.micro_batcher import MicroBatcher
from tests.support.step_engine import StepEngine, encoded_ad, score


class Harness:
    """A batcher with its engine, clock and metrics."""

    def __init__(self, **options) -> None:
        self.engine, self.metrics, self.now, self.fatal = StepEngine(), Metrics(), 0.0, 0
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

    async def classify(self, *ads: EncodedAd, lane: Lane = Lane.INTERACTIVE) -> list[Scores]:
        with self.batcher.admission.admit(
            len(ads), sum(item.tokens for item in ads), lane
        ) as ticket:
            return await self.batcher.classify(ads, ticket)

    def begin(self, *ads: EncodedAd, lane: Lane = Lane.INTERACTIVE) -> asyncio.Task[list[Scores]]:
        return asyncio.create_task(self.classify(*ads, lane=lane))

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"doppelkopf_{name}", labels) or 0.0


def in_harness(test: Callable[[Harness], Coroutine[None, None, None]], **options: object) -> None:
    """Run a test in an event loop, then check that no ad is counted as queued."""

    async def main() -> None:
        harness = Harness(**options)
        async with asyncio.timeout(20):
            await test(harness)
            harness.engine.release(1000)
            await harness.batcher.drain(5)
        assert harness.value("queued_ads") == 0
        assert harness.value("queued_tokens") == 0

    asyncio.run(main())


async def run_pending_tasks() -> None:
    """Let all tasks of the event loop run as far as they can."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_single_ad_is_run_at_once():
    async def test(harness: Harness) -> None:
        assert harness.value("max_batch_tokens") == 100
        task = harness.begin(encoded_ad(7))
        await harness.engine.began()
        harness.engine.release()
        assert (await task)[0].probabilities["job_category"] == [7]
        assert harness.engine.batches == [[7]]

    in_harness(test)


def test_the_next_batch_forms_while_one_runs():
    async def test(harness: Harness) -> None:
        first = harness.begin(encoded_ad(1))
        await harness.engine.began()
        rest = [harness.begin(encoded_ad(tokens)) for tokens in (2, 3, 4)]
        await run_pending_tasks()
        harness.engine.release(2)
        await asyncio.gather(first, *rest)
        assert harness.engine.batches == [[1], [2, 3, 4]]

    in_harness(test)


def test_a_request_over_several_batches_keeps_its_order():
    async def test(harness: Harness) -> None:
        harness.engine.release(10)
        sizes = [60, 50, 40, 30, 20]
        answers = await harness.classify(*(encoded_ad(size) for size in sizes))
        assert [answer.probabilities["job_category"][0] for answer in answers] == sizes
        assert all(sum(batch) <= 100 for batch in harness.engine.batches)
        assert harness.value("batch_ads_sum") == 5
        assert harness.value("batch_tokens_sum") == 200

    in_harness(test)


def test_with_depth_two_a_second_batch_starts():
    async def test(harness: Harness) -> None:
        tasks = [harness.begin(encoded_ad(1))]
        await harness.engine.began()
        tasks.append(harness.begin(encoded_ad(2)))
        await harness.engine.began()
        assert harness.engine.batches == [[1], [2]]
        harness.engine.release(2)
        await asyncio.gather(*tasks)

    in_harness(test, depth=2)


def test_a_cancelled_request_never_runs():
    async def test(harness: Harness) -> None:
        first = harness.begin(encoded_ad(1))
        await harness.engine.began()
        gone, stays = harness.begin(encoded_ad(2), encoded_ad(3)), harness.begin(encoded_ad(4))
        await run_pending_tasks()
        assert harness.value("queued_ads") == 4
        gone.cancel()
        await run_pending_tasks()
        assert harness.value("queued_ads") == 2
        harness.engine.release(2)
        await asyncio.gather(first, stays)
        assert harness.engine.batches == [[1], [4]]
        assert gone.cancelled()

    in_harness(test)


def test_the_loop_continues_after_a_running_ad_was_cancelled():
    async def test(harness: Harness) -> None:
        gone = harness.begin(encoded_ad(1))
        await harness.engine.began()
        gone.cancel()
        stays = harness.begin(encoded_ad(2))
        harness.engine.release(2)
        assert (await stays)[0].probabilities["job_category"] == [2]

    in_harness(test)


def test_a_failed_batch_fails_its_callers_only(caplog):
    async def test(harness: Harness) -> None:
        def explode(batch):
            raise RuntimeError("a secret of the engine")

        works, harness.engine.outcome = harness.engine.outcome, explode
        bad = harness.begin(encoded_ad(1))
        await harness.engine.began()
        good = harness.begin(encoded_ad(2))
        harness.engine.release()
        with pytest.raises(EngineError) as caught:
            await bad
        assert "secret" not in str(caught.value)
        harness.engine.outcome = works
        harness.engine.release()
        assert await good
        assert harness.value("engine_failures_total", kind="batch") == 1

    in_harness(test)
    assert "a secret of the engine" in caplog.text


def test_a_failed_ad_does_not_fail_its_batch():
    async def test(harness: Harness) -> None:
        harness.engine.outcome = lambda batch: [
            EngineError("does not fit") if item.tokens == 3 else score(item) for item in batch
        ]
        hold = harness.begin(encoded_ad(1))
        await harness.engine.began()
        bad, good = harness.begin(encoded_ad(3)), harness.begin(encoded_ad(4))
        harness.engine.release(2)
        await hold
        with pytest.raises(EngineError, match="does not fit"):
            await bad
        assert await good
        assert harness.value("engine_failures_total", kind="ad") == 1

    in_harness(test)


def test_a_wrong_number_of_results_fails_the_batch():
    async def test(harness: Harness) -> None:
        harness.engine.outcome = lambda _: []
        harness.engine.release()
        with pytest.raises(EngineError):
            await harness.classify(encoded_ad())

    in_harness(test)


def test_a_lost_device_fails_all_requests():
    """Running, queued and new ones; and it is reported once."""

    async def test(harness: Harness) -> None:
        def lost(batch):
            raise FatalEngineError("The device failed.")

        harness.engine.outcome = lost
        running = harness.begin(encoded_ad(1))
        await harness.engine.began()
        waiting = harness.begin(encoded_ad(2))
        await run_pending_tasks()
        harness.engine.release()
        for task in (running, waiting):
            with pytest.raises(FatalEngineError):
                await task
        with pytest.raises(NotReadyError):
            await harness.classify(encoded_ad())
        with pytest.raises(NotReadyError):
            harness.batcher.admission.require_ready()
        assert harness.fatal == 1
        assert harness.value("engine_failures_total", kind="fatal") == 1

    in_harness(test)


def test_a_slow_queue_refuses_single_ads_and_batches():
    async def test(harness: Harness) -> None:
        waiting = harness.begin(*(encoded_ad(100) for _ in range(6)), lane=Lane.BULK)
        await harness.engine.began()
        for ads, retry_after in (([encoded_ad()], 1), ([encoded_ad()] * 10, 2)):
            with pytest.raises(OverloadedError) as caught:
                await harness.classify(*ads, lane=Lane.BULK)
            # 600 tokens at 100 a second are ahead, of which 5 seconds are allowed. The second
            # request is told a later time than the first.
            assert caught.value.retry_after == retry_after
        assert harness.value("rejected_total", reason="queue_slow") == 2
        harness.engine.release(6)
        await waiting

    in_harness(test)


def test_bulk_ads_do_not_cause_refusals_of_interactive_ads():
    async def test(harness: Harness) -> None:
        bulk = harness.begin(*(encoded_ad(100) for _ in range(6)), lane=Lane.BULK)
        await harness.engine.began()
        single = harness.begin(encoded_ad(5))
        harness.engine.release(7)
        assert await single
        await bulk

    in_harness(test)


def test_no_more_than_max_queued_ads_are_admitted():
    async def test(harness: Harness) -> None:
        waiting = harness.begin(*(encoded_ad(1) for _ in range(49)))
        await harness.engine.began()
        with pytest.raises(OverloadedError):
            await harness.classify(encoded_ad(1), encoded_ad(1))
        assert harness.value("rejected_total", reason="queue_full") == 1
        last = harness.begin(encoded_ad(1))
        harness.engine.release(2)
        await asyncio.gather(waiting, last)

    in_harness(test)


def test_retry_after_grows_with_the_work_ahead():
    async def test(harness: Harness) -> None:
        waiting = harness.begin(*(encoded_ad(100) for _ in range(30)))
        await harness.engine.began()
        with pytest.raises(OverloadedError) as caught:
            await harness.classify(encoded_ad())
        assert caught.value.retry_after == 25
        assert "25 s" in str(caught.value)
        harness.engine.release(30)
        await waiting

    in_harness(test)


def test_the_measured_rate_follows_the_engine():
    async def test(harness: Harness) -> None:
        def slow(batch):
            harness.now += 10.0
            return [score(item) for item in batch]

        harness.engine.outcome = slow
        harness.engine.release(100)
        # Full batches at 10 tokens a second, where the warm-up measured 100.
        await harness.classify(*(encoded_ad(100) for _ in range(40)), lane=Lane.BULK)
        hold = harness.begin(encoded_ad(100), lane=Lane.BULK)
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await harness.classify(encoded_ad(), lane=Lane.BULK)
        await hold

    in_harness(test)


def test_drain_finishes_admitted_ads_and_refuses_new_ones():
    async def test(harness: Harness) -> None:
        running = harness.begin(encoded_ad(1))
        await harness.engine.began()
        waiting = harness.begin(encoded_ad(2))
        await run_pending_tasks()
        draining = asyncio.create_task(harness.batcher.drain(10))
        await run_pending_tasks()
        with pytest.raises(NotReadyError, match="shutting down"):
            await harness.classify(encoded_ad())
        harness.engine.release(2)
        await draining
        assert running.done()
        assert waiting.done()
        assert (await waiting)[0].probabilities["job_category"] == [2]

    in_harness(test)


def test_drain_fails_queued_ads_after_the_grace_period():
    async def test(harness: Harness) -> None:
        running = harness.begin(encoded_ad(1))
        await harness.engine.began()
        waiting = harness.begin(encoded_ad(2))
        await run_pending_tasks()
        draining = asyncio.create_task(harness.batcher.drain(0))
        with pytest.raises(NotReadyError):
            await waiting
        harness.engine.release()
        await draining
        assert await running

    in_harness(test)


def test_queue_seconds_end_when_the_batch_starts():
    async def test(harness: Harness) -> None:
        first = harness.begin(encoded_ad(1))
        await harness.engine.began()
        second = harness.begin(encoded_ad(2))
        await run_pending_tasks()
        harness.now += 3.0
        harness.engine.release(2)
        await asyncio.gather(first, second)
        assert harness.value("queue_seconds_sum") == 3.0
        assert harness.value("queue_seconds_count") == 2

    in_harness(test)


def test_a_request_that_waits_too_long_is_refused_whole():
    async def test(harness: Harness) -> None:
        running = harness.begin(encoded_ad(1))
        await harness.engine.began()
        late = harness.begin(encoded_ad(60), encoded_ad(70))
        await run_pending_tasks()
        harness.now += 5.5
        fresh = harness.begin(encoded_ad(3))
        await run_pending_tasks()
        harness.engine.release(2)
        with pytest.raises(OverloadedError):
            await late
        assert await running
        assert await fresh
        assert harness.engine.batches == [[1], [3]]
        assert harness.value("rejected_total", reason="queue_late") == 1

    in_harness(test)


def test_a_started_request_is_finished_however_long_it_takes():
    async def test(harness: Harness) -> None:
        request = harness.begin(encoded_ad(60), encoded_ad(70), encoded_ad(80))
        await harness.engine.began()
        harness.now += 100.0
        harness.engine.release(3)
        assert len(await request) == 3

    in_harness(test)


def test_bulk_ads_may_wait_longer():
    """5 seconds divided by their share, a quarter."""

    async def test(harness: Harness) -> None:
        running = harness.begin(encoded_ad(1))
        await harness.engine.began()
        bulk = harness.begin(encoded_ad(100), lane=Lane.BULK)
        await run_pending_tasks()
        harness.now += 19.5
        harness.engine.release(2)
        assert await bulk
        assert await running

    in_harness(test)


def test_a_hanging_batch_fails_all_requests():
    async def test(harness: Harness) -> None:
        running = harness.begin(encoded_ad(1))
        await harness.engine.began()
        waiting = harness.begin(encoded_ad(2))
        await run_pending_tasks()
        for _ in range(12):
            harness.batcher.watchdog.tick()
        for call in (running, waiting):
            with pytest.raises(FatalEngineError, match="does not come back"):
                await call
        assert harness.fatal == 1
        with pytest.raises(NotReadyError):
            await harness.classify(encoded_ad())
        # Draining does not wait for the batch either.
        await harness.batcher.drain(10)
        harness.engine.release()

    in_harness(test, hang_seconds=10.0)


def test_a_system_exit_in_the_engine_is_a_lost_device():
    async def test(harness: Harness) -> None:
        def end(batch):
            raise SystemExit

        harness.engine.outcome = end
        harness.engine.release()
        with pytest.raises(FatalEngineError):
            await harness.classify(encoded_ad())
        assert harness.fatal == 1

    in_harness(test)


def test_a_request_admitted_before_the_loss_fails_too():
    async def test(harness: Harness) -> None:
        def lose(batch):
            raise FatalEngineError("The device failed.")

        with harness.batcher.admission.admit(1, 10, Lane.INTERACTIVE) as tokenizing:
            harness.engine.outcome = lose
            harness.engine.release()
            with pytest.raises(FatalEngineError):
                await harness.classify(encoded_ad())
            with pytest.raises(FatalEngineError):
                await harness.batcher.classify([encoded_ad()], tokenizing)

    in_harness(test)


def test_a_successor_shares_admission_and_the_measured_rate():
    async def test():
        harness = Harness(tokens_per_second=100.0)
        task = asyncio.create_task(harness.classify(encoded_ad(90)))
        await harness.engine.began()
        # A warm-up beside a working engine measures a low rate.
        successor = Harness(admission=harness.batcher.admission, tokens_per_second=40.0)
        shared = successor.batcher.admission
        assert shared is harness.batcher.admission
        assert (shared.ads, shared.rate) == (1, 100.0)
        Harness(admission=shared, tokens_per_second=400.0)
        assert shared.rate == 400.0
        harness.engine.release()
        await task
        assert shared.ads == 0

    asyncio.run(test())


def test_a_retired_batcher_finishes_its_batch_and_closes_the_engine():
    async def test():
        closed = threading.Event()
        harness = Harness(close_engine=closed.set)
        task = asyncio.create_task(harness.classify(encoded_ad()))
        await harness.engine.began()
        leaving = asyncio.create_task(harness.batcher.retire())
        await asyncio.wait({leaving}, timeout=0.05)
        assert not closed.is_set()
        harness.engine.release()
        await leaving
        assert closed.is_set()
        assert len(await task) == 1
        with pytest.raises(NotReadyError, match="replaced"):
            await harness.classify(encoded_ad())
        assert harness.batcher.admission.ads == 0
        harness.batcher.admission.require_ready()

    asyncio.run(test())


def test_drain_does_not_close_the_engine():
    """The engine may hang, and closing it would wait for it."""

    async def test():
        closed = threading.Event()
        harness = Harness(close_engine=closed.set)
        await harness.batcher.drain(1)
        assert not closed.is_set()

    asyncio.run(test())
