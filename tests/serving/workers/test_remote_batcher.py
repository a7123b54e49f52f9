"""Front ends and an engine process's desk, over real sockets in one event loop.

The engine is the batcher's fake: a batch begins, and ends only when the test lets it.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path

import numpy as np
import pytest
import zmq

from app.core.errors import EngineError, FatalEngineError, NotReadyError, OverloadedError
from app.core.types import Encoded, Scores
from app.serving.metrics import Metrics
from app.serving.request_trace import Trace, set_current
from app.serving.scheduling.admission import AdmissionController
from app.serving.scheduling.lanes import Lane
from app.serving.scheduling.micro_batcher import MicroBatcher
from app.serving.scheduling.shared_counters import SharedCounters
from app.serving.workers import frames as framing
from app.serving.workers.engine_broker import Broker
from app.serving.workers.remote_batcher import RemoteBatcher
from app.serving.workers.zmq_channel import unlimited
from tests.serving.scheduling.test_micro_batcher import HeldEngine, ad

LABELS = {"job_category": ("a", "b"), "min_education": ("x",)}
ROWS = 2


def scores(encoded: Encoded) -> Scores:
    """Return scores that tell which ad they are of."""
    tokens = encoded.tokens
    return Scores(
        {
            "job_category": np.array([tokens, -tokens], dtype=np.float32),
            "min_education": np.array([tokens / 2], dtype=np.float32),
        }
    )


async def until(condition: Callable[[], bool]) -> None:
    """Let messages travel until it is so; `in_office` sets the time limit."""
    while not condition():  # noqa: ASYNC110  it comes over a socket
        await asyncio.sleep(0.001)


class Office:
    """An engine process and its front ends, all in this event loop."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.engine, self.metrics, self.now = HeldEngine(), Metrics(), 0.0
        self.engine.outcome = lambda batch: [scores(item) for item in batch]
        self.context, self._path = zmq.Context(), folder / "ledger"
        self._address = f"ipc://{folder}/engine"
        self.ledger = SharedCounters.create(self._path, ROWS, 1)
        self.batcher = MicroBatcher(
            self.engine.run,
            metrics=self.metrics,
            ledger=self.ledger,
            clock=lambda: self.now,
            **{
                "max_batch_tokens": 100,
                "max_queued_ads": 50,
                "max_queue_seconds": 5.0,
                "tokens_per_second": 100.0,
                **options,
            },
        )
        self.batcher.start()
        router = unlimited(self.context, zmq.ROUTER)
        router.bind(self._address)
        self.broker = Broker(router, self.batcher, LABELS, clock=lambda: self.now)
        self.fronts = [self._front(row) for row in range(ROWS)]

    def _front(self, row: int) -> RemoteBatcher:
        house = AdmissionController(
            50, 5.0, SharedCounters.open(self._path, ROWS, 1, row), Metrics(), lambda: self.now
        )
        remote = RemoteBatcher(house, [self.dealer(f"front-{row}".encode())], LABELS)
        remote.start()
        return remote

    def dealer(self, identity: bytes) -> zmq.Socket[bytes]:
        dealer = unlimited(self.context, zmq.DEALER)
        dealer.setsockopt(zmq.IDENTITY, identity)
        dealer.connect(self._address)
        return dealer

    async def classify(
        self, *ads: Encoded, front: int = 0, lane: Lane = Lane.INTERACTIVE, request_id: str = ""
    ) -> list[Scores]:
        trace = Trace(request_id)
        set_current(trace)
        remote = self.fronts[front]
        with remote.house.admit(len(ads), sum(item.tokens for item in ads), lane) as admission:
            trace.enter("queue")
            answers = await remote.classify(ads, admission)
            trace.leave()
        self.trace = trace
        return answers

    def begin(self, *ads: Encoded, **options: object) -> asyncio.Task[list[Scores]]:
        return asyncio.create_task(self.classify(*ads, **options))

    async def queued(self, ads: int) -> None:
        """Wait until so many ads wait for a batch."""
        await until(lambda: sum(not one.future.done() for one in self.batcher.waiting()) == ads)


def in_office(
    test: Callable[[Office], Coroutine[None, None, None]], tmp_path: Path, **options: object
) -> None:
    """Run a test in an event loop, and see that nothing stays counted as waiting."""

    async def main() -> None:
        office = Office(tmp_path, **options)
        try:
            async with asyncio.timeout(20):
                await test(office)
                office.engine.release(1000)
                for front in office.fronts:
                    await front.drain(5)
                await office.batcher.drain(5)
        finally:
            # A thread that is still held would keep the tests from ending.
            office.engine.release(1000)
            office.broker.close()
            office.context.destroy(linger=0)
        account = office.ledger.accounts[0]
        assert (account.ads, account.tokens(Lane.INTERACTIVE), account.tokens(Lane.BULK)) == (
            0,
            0,
            0,
        )

    asyncio.run(main())


def test_every_front_end_gets_its_own_answers_in_order(tmp_path):
    async def test(office: Office) -> None:
        office.engine.release(10)
        sizes = ([60, 50, 40], [30, 20, 10])
        both = [
            office.begin(*(ad(size) for size in part), front=front)
            for front, part in enumerate(sizes)
        ]
        for part, answers in zip(sizes, await asyncio.gather(*both), strict=True):
            for size, answer in zip(part, answers, strict=True):
                wanted = scores(ad(size)).probabilities
                assert answer.probabilities.keys() == wanted.keys()
                for head, values in wanted.items():
                    assert answer.probabilities[head].tolist() == values.tolist()
        assert all(sum(batch) <= 100 for batch in office.engine.batches)

    in_office(test, tmp_path)


def test_an_answered_ad_waits_no_longer_though_its_request_does(tmp_path):
    async def test(office: Office) -> None:
        request = office.begin(ad(60), ad(50), ad(40))
        await office.engine.began()
        account = office.ledger.accounts[0]
        assert (account.ads, account.tokens(Lane.INTERACTIVE)) == (3, 150)
        office.engine.release()
        await until(lambda: account.ads == 2)
        assert account.tokens(Lane.INTERACTIVE) == 90
        office.engine.release()
        assert len(await request) == 3

    in_office(test, tmp_path)


def test_ads_of_all_front_ends_share_a_batch(tmp_path):
    async def test(office: Office) -> None:
        first = office.begin(ad(1))
        await office.engine.began()
        rest = [office.begin(ad(2 + front), front=front) for front in range(ROWS)]
        await office.queued(ROWS)
        office.engine.release(2)
        await asyncio.gather(first, *rest)
        assert sorted(office.engine.batches[1]) == [2, 3]

    in_office(test, tmp_path)


def test_the_work_of_a_caller_who_leaves_never_runs(tmp_path):
    async def test(office: Office) -> None:
        first = office.begin(ad(1))
        await office.engine.began()
        gone, stays = office.begin(ad(2), ad(3)), office.begin(ad(4))
        await office.queued(3)
        gone.cancel()
        await office.queued(1)
        assert office.ledger.accounts[0].ads == 2
        office.engine.release(2)
        await asyncio.gather(first, stays)
        assert office.engine.batches == [[1], [4]]

    in_office(test, tmp_path)


def test_who_leaves_in_the_turn_of_the_request_is_dropped_too(tmp_path):
    async def test(office: Office) -> None:
        first = office.begin(ad(1))
        await office.engine.began()
        gone, stays = office.begin(ad(2)), office.begin(ad(3))
        await asyncio.sleep(0)
        gone.cancel()
        await office.queued(1)
        office.engine.release(2)
        await asyncio.gather(first, stays)
        assert office.engine.batches == [[1], [3]]

    in_office(test, tmp_path)


def test_the_queued_work_of_a_front_end_that_died_is_dropped(tmp_path):
    async def test(office: Office) -> None:
        first = office.begin(ad(1), front=1)
        await office.engine.began()
        orphan, stays = office.begin(ad(2), front=0), office.begin(ad(3), front=1)
        await office.queued(2)
        office.broker.forget(b"front-0")
        await office.queued(1)
        # What it sent in its last moment comes after the news of its end.
        office.begin(ad(4), front=0)
        office.engine.release(2)
        await asyncio.gather(first, stays)
        last = office.begin(ad(5), front=1)
        office.engine.release()
        await last
        assert office.engine.batches == [[1], [3], [5]]
        assert not orphan.done()
        office.fronts[0].lose(FatalEngineError("for the test to end"))

    in_office(test, tmp_path)


def test_a_failed_batch_names_its_requests_and_fails_them(tmp_path, caplog):
    async def test(office: Office) -> None:
        def explode(batch):
            raise RuntimeError("a secret of the engine")

        office.engine.outcome = explode
        office.engine.release()
        with pytest.raises(EngineError) as caught:
            await office.classify(ad(1), request_id="job-7")
        assert "secret" not in str(caught.value)

    with caplog.at_level(logging.ERROR):
        in_office(test, tmp_path)
    assert "requests job-7" in caplog.text


def test_an_ad_that_fails_takes_its_request_along_and_no_other(tmp_path):
    async def test(office: Office) -> None:
        office.engine.outcome = lambda batch: [
            EngineError("does not fit") if item.tokens == 3 else scores(item) for item in batch
        ]
        first = office.begin(ad(1))
        await office.engine.began()
        bad, good = office.begin(ad(3), ad(98)), office.begin(ad(4))
        await office.queued(3)
        office.engine.release(3)
        await first
        with pytest.raises(EngineError, match="does not fit"):
            await bad
        assert await good

    in_office(test, tmp_path)


def test_a_request_that_waits_too_long_after_all_is_told_when_to_come_back(tmp_path):
    async def test(office: Office) -> None:
        first = office.begin(ad(1))
        await office.engine.began()
        late = office.begin(ad(60), ad(70))
        await office.queued(2)
        office.now += 5.5
        office.engine.release(2)
        with pytest.raises(OverloadedError) as caught:
            await late
        assert (caught.value.reason, caught.value.retry_after) == ("queue_late", 1)
        await first

    in_office(test, tmp_path)


def test_whom_one_front_end_refuses_another_knows_of(tmp_path):
    async def test(office: Office) -> None:
        waiting = office.begin(*(ad(100) for _ in range(6)), lane=Lane.BULK, front=0)
        await office.engine.began()
        told = []
        for front in (1, 0, 1):
            with pytest.raises(OverloadedError) as caught:
                await office.classify(ad(100), lane=Lane.BULK, front=front)
            told.append(caught.value.retry_after)
        # A second of work each, behind those refused before wherever that was.
        assert told == [1, 2, 3]
        office.engine.release(6)
        await waiting

    in_office(test, tmp_path)


def test_a_front_end_that_drains_finishes_what_it_took_and_the_others_go_on(tmp_path):
    async def test(office: Office) -> None:
        running = office.begin(ad(1), front=0)
        await office.engine.began()
        draining = asyncio.create_task(office.fronts[0].drain(10))
        await asyncio.sleep(0)
        with pytest.raises(NotReadyError, match="shutting down"):
            await office.classify(ad(2), front=0)
        other = office.begin(ad(3), front=1)
        office.engine.release(2)
        await draining
        assert running.done()
        assert await running
        assert await other

    in_office(test, tmp_path)


def test_after_the_grace_what_has_begun_is_finished_and_the_rest_refused(tmp_path):
    async def test(office: Office) -> None:
        running = office.begin(ad(1), front=0)
        await office.engine.began()
        waiting, other = office.begin(ad(2), front=0), office.begin(ad(3), front=1)
        await office.queued(2)
        draining = asyncio.create_task(office.fronts[0].drain(0))
        with pytest.raises(NotReadyError, match="shutting down"):
            await waiting
        assert not draining.done()
        office.engine.release(2)
        assert await running
        assert await other
        await draining

    in_office(test, tmp_path)


def test_a_lost_engine_settles_everyone_and_refuses_newcomers(tmp_path):
    async def test(office: Office) -> None:
        running = office.begin(ad(1))
        await office.engine.began()
        waiting = office.begin(ad(2))
        await office.queued(1)
        with office.fronts[0].house.admit(1, 10, Lane.INTERACTIVE) as tokenizing:
            office.fronts[0].lose(FatalEngineError("The engine process ended."))
            for call in (running, waiting):
                with pytest.raises(FatalEngineError, match="ended"):
                    await call
            with pytest.raises(FatalEngineError):
                await office.fronts[0].classify([ad()], tokenizing)
        with pytest.raises(NotReadyError, match="restarting"):
            await office.classify(ad())
        office.engine.release(2)

    in_office(test, tmp_path)


def test_a_request_that_reaches_a_lost_engine_is_settled(tmp_path):
    async def test(office: Office) -> None:
        def lost(batch):
            raise FatalEngineError("The device failed.")

        office.engine.outcome = lost
        office.engine.release()
        for _ in range(2):
            with pytest.raises(FatalEngineError, match="device failed"):
                await office.classify(ad())

    in_office(test, tmp_path)


def test_the_trace_tells_the_wait_from_the_batch(tmp_path):
    async def test(office: Office) -> None:
        office.engine.release()
        await office.classify(ad(1))
        stages = office.trace.stages()
        assert list(stages) == ["queue", "batch"]
        assert all(seconds > 0 for seconds in stages.values())
        assert sum(stages.values()) < office.trace.seconds

    in_office(test, tmp_path)


def test_a_turns_requests_and_a_batchs_results_are_one_message_each(tmp_path):
    async def test(office: Office) -> None:
        dealer = office.dealer(b"bare")
        requests = [
            framing.Submission(number, Lane.BULK, "", [ad(number + 1)]) for number in range(3)
        ]
        dealer.send_multipart(framing.submit(requests))
        office.engine.release()
        await until(lambda: bool(dealer.getsockopt(zmq.EVENTS) & zmq.POLLIN))
        results = list(framing.results(dealer.recv_multipart()))
        assert [one.number for one in results] == [0, 1, 2]
        dealer.close(linger=0)

    in_office(test, tmp_path)

    async def main() -> None:
        context = zmq.Context()
        router = context.socket(zmq.ROUTER)
        router.bind(f"ipc://{tmp_path}/bare")
        dealer = unlimited(context, zmq.DEALER)
        dealer.connect(f"ipc://{tmp_path}/bare")
        house = AdmissionController(50, 5.0, SharedCounters.of_one(100.0), Metrics())
        remote = RemoteBatcher(house, [dealer], LABELS)
        remote.start()
        with house.admit(2, 2, Lane.BULK) as admission:
            calls = [asyncio.create_task(remote.classify([ad(1)], admission)) for _ in range(2)]
            async with asyncio.timeout(20):
                await until(lambda: bool(router.getsockopt(zmq.EVENTS) & zmq.POLLIN))
            assert len(list(framing.submissions(router.recv_multipart()[1:]))) == 2
            remote.lose(FatalEngineError("for the test to end"))
            await asyncio.gather(*calls, return_exceptions=True)
        await remote.drain(1)
        context.destroy(linger=0)

    asyncio.run(main())
