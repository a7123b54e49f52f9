import asyncio
import threading
from typing import ClassVar

import pytest

from app.core.errors import DeadlineExceededError, NotReadyError, OverloadedError
from app.core.types import Ad
from app.engine.engine import Engine
from app.serving.inference.service import Service
from app.serving.metrics import Metrics
from app.serving.request_trace import Trace, set_current
from app.serving.scheduling.lanes import Lane
from app.serving.scheduling.micro_batcher import MicroBatcher
from tests.support.application import served_model


def in_service(checkpoint, test, run=None, batcher_type=MicroBatcher):
    """Run a test with a service of its own, in an event loop."""

    async def main():
        metrics = Metrics()
        batcher = batcher_type(
            run or Engine(checkpoint, "cpu").run,
            max_batch_tokens=512,
            max_queued_ads=100,
            max_queue_seconds=100,
            tokens_per_second=1000,
            metrics=metrics,
        )
        service = Service(served_model(checkpoint), checkpoint.tokenizer(), batcher, metrics)
        try:
            await test(service, metrics.registry.get_sample_value)
        finally:
            await service.drain(5)

    asyncio.run(main())


def test_predictions_are_in_the_order_of_the_ads(checkpoint):
    ads = [Ad("Koch für die Küche " * count) for count in (1, 30, 2, 9)]

    async def test(service, value):
        answers = await service.classify(ads, lane=Lane.BULK, top_k=2)
        assert [answer.tokens for answer in answers] == [
            item.tokens for item in checkpoint.tokenizer().encode(ads)
        ]
        assert all(len(top) == 2 for answer in answers for top in answer.heads.values())

    in_service(checkpoint, test)


class ThreadNotingText(str):
    """Notes the threads in which it is stripped."""

    read_in: ClassVar[list[str]] = []

    def strip(self):
        self.read_in.append(threading.current_thread().name)
        return super().strip()


def test_html_is_read_in_the_tokenizers_threads(checkpoint):
    async def test(service, value):
        ad = Ad(ThreadNotingText("<p>Koch</p>"), format="html")
        await service.classify([ad], lane=Lane.INTERACTIVE, top_k=1)
        assert [name.split("_")[0] for name in ThreadNotingText.read_in] == ["tokenizer"]

    in_service(checkpoint, test)


def test_every_answered_ad_is_recorded_once(checkpoint):
    async def test(service, value):
        await service.classify([Ad("Koch"), Ad("Koch " * 3000)], lane=Lane.INTERACTIVE, top_k=1)
        assert value("doppelkopf_truncated_total") == 1
        assert value("doppelkopf_tokenize_seconds_count") == 1
        assert value("doppelkopf_confidence_count", {"head": "job_category"}) == 2
        assert value("doppelkopf_queued_ads") == 0

    in_service(checkpoint, test)


def test_a_requests_trace_has_its_ads_tokens_and_stages(checkpoint):
    async def test(service, value):
        trace = Trace()
        set_current(trace)
        answers = await service.classify([Ad("Koch")] * 3, lane=Lane.BULK, top_k=1)
        stages = trace.stages()
        assert (trace.ads, trace.tokens) == (3, sum(answer.tokens for answer in answers))
        assert list(stages) == ["tokenize", "queue", "batch"]
        assert stages == trace.stages()

    in_service(checkpoint, test)


def test_a_deadline_drops_waiting_ads(checkpoint):
    async def test(service, value):
        with pytest.raises(DeadlineExceededError, match="dropped"):
            await service.classify([Ad("Koch")], lane=Lane.INTERACTIVE, top_k=1, timeout_seconds=0)
        assert value("doppelkopf_queued_ads") == 0
        assert value("doppelkopf_confidence_count", {"head": "job_category"}) == 0

    in_service(checkpoint, test)


def test_after_draining_no_ads_are_admitted(checkpoint):
    async def test(service, value):
        await service.require_ready()
        await service.drain(1)
        with pytest.raises(NotReadyError):
            await service.require_ready()
        with pytest.raises(NotReadyError):
            await service.classify([Ad("Koch")], lane=Lane.INTERACTIVE, top_k=1)

    in_service(checkpoint, test)


def test_a_bulk_job_waits_where_a_request_is_refused(checkpoint):
    async def test(service, value):
        controller = service._batcher.admission
        with controller.admit(51, 1, Lane.INTERACTIVE):
            waiting = asyncio.create_task(service.classify_bulk([Ad("Koch"), Ad("Koch")], [1, 2]))
            for _ in range(10):
                await asyncio.sleep(0)
            assert not waiting.done()
        answers = await waiting
        assert [len(answer.heads["job_category"]) for answer in answers] == [1, 2]
        assert value("doppelkopf_queued_ads") == 0

    in_service(checkpoint, test)


def test_check_capacity_follows_the_rule_of_requests(checkpoint):
    async def test(service, value):
        await service.check_capacity()
        with service._batcher.admission.admit(100, 1, Lane.BULK), pytest.raises(OverloadedError):
            await service.check_capacity()
        assert value("doppelkopf_rejected_total", {"reason": "queue_full"}) == 1

    in_service(checkpoint, test)


class SlowOnce(MicroBatcher):
    """A batcher that refuses the first request because it waited too long."""

    refused = 0

    async def classify(self, encoded, ticket):
        if not self.refused:
            self.refused = self.admission.ads
            raise self.admission.refuse("queue_late", 1)
        return await super().classify(encoded, ticket)


def test_a_bulk_job_that_waited_too_long_waits_again(checkpoint):
    async def test(service, value):
        (answer,) = await service.classify_bulk([Ad("Koch")], [1])
        assert answer.heads
        assert service._batcher.refused == 1
        assert value("doppelkopf_queued_ads") == 0

    in_service(checkpoint, test, batcher_type=SlowOnce)


def test_a_retired_service_finishes_its_requests_and_takes_no_more(checkpoint):
    gate = threading.Event()
    engine = Engine(checkpoint, "cpu")

    def run(batch):
        assert gate.wait(10)
        return engine.run(batch)

    async def test(service, value):
        work = {"lane": Lane.INTERACTIVE, "top_k": 1}
        first = asyncio.create_task(service.classify([Ad("Koch")], **work))
        leaving = asyncio.create_task(service.retire(0.01))
        await asyncio.wait({leaving}, timeout=0.1)
        assert not leaving.done()
        # A request that holds the service may still call it.
        second = asyncio.create_task(service.classify([Ad("Koch")], **work))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(first, second)
        await leaving
        with pytest.raises(NotReadyError, match="replaced"):
            await service.classify([Ad("Koch")], **work)
        # Admission goes on for its successor.
        await service.require_ready()

    in_service(checkpoint, test, run)


def test_a_service_retires_after_a_time_without_calls(checkpoint):
    async def test(service, value):
        leaving = asyncio.create_task(service.retire(0.2))
        for _ in range(10):
            await asyncio.wait({leaving}, timeout=0.05)
            await service.classify([Ad("Koch")], lane=Lane.INTERACTIVE, top_k=1)
        assert not leaving.done()
        await leaving

    in_service(checkpoint, test)
