"""`RemoteBatcher` against a real broker over ZeroMQ sockets; see `FrontEndsAndEngine`."""

import asyncio

import pytest
import zmq

from app.core.errors import FatalEngineError, NotReadyError, OverloadedError
from app.serving.metrics import Metrics
from app.serving.scheduling.admission import AdmissionController
from app.serving.scheduling.lanes import Lane
from app.serving.scheduling.shared_counters import SharedCounters
from app.serving.workers.frames import decode_requests
from app.serving.workers.remote_batcher import RemoteBatcher
from app.serving.workers.zmq_channel import unlimited_socket
from tests.support.front_ends import LABELS, FrontEndsAndEngine, in_event_loop, scores, until
from tests.support.step_engine import encoded_ad


def test_every_front_end_gets_its_own_answers_in_order(tmp_path):
    async def test(setup: FrontEndsAndEngine) -> None:
        setup.engine.release(10)
        sizes = ([60, 50, 40], [30, 20, 10])
        both = [
            setup.begin(*(encoded_ad(size) for size in part), front=front)
            for front, part in enumerate(sizes)
        ]
        for part, answers in zip(sizes, await asyncio.gather(*both), strict=True):
            for size, answer in zip(part, answers, strict=True):
                wanted = scores(encoded_ad(size)).probabilities
                assert answer.probabilities.keys() == wanted.keys()
                for head, values in wanted.items():
                    assert answer.probabilities[head].tolist() == values.tolist()
        assert all(sum(batch) <= 100 for batch in setup.engine.batches)

    in_event_loop(test, tmp_path)


def test_an_answered_ad_is_counted_out_before_its_request_ends(tmp_path):
    async def test(setup: FrontEndsAndEngine) -> None:
        request = setup.begin(encoded_ad(60), encoded_ad(50), encoded_ad(40))
        await setup.engine.began()
        load = setup.counters.loads[0]
        assert (load.ads, load.tokens(Lane.INTERACTIVE)) == (3, 150)
        setup.engine.release()
        await until(lambda: load.ads == 2)
        assert load.tokens(Lane.INTERACTIVE) == 90
        setup.engine.release()
        assert len(await request) == 3

    in_event_loop(test, tmp_path)


def test_a_cancelled_request_is_taken_out_of_the_queue(tmp_path):
    async def test(setup: FrontEndsAndEngine) -> None:
        first = setup.begin(encoded_ad(1))
        await setup.engine.began()
        gone, stays = setup.begin(encoded_ad(2), encoded_ad(3)), setup.begin(encoded_ad(4))
        await setup.queued(3)
        gone.cancel()
        await setup.queued(1)
        assert setup.counters.loads[0].ads == 2
        setup.engine.release(2)
        await asyncio.gather(first, stays)
        assert setup.engine.batches == [[1], [4]]

    in_event_loop(test, tmp_path)


def test_a_request_cancelled_before_it_is_sent_never_runs(tmp_path):
    async def test(setup: FrontEndsAndEngine) -> None:
        first = setup.begin(encoded_ad(1))
        await setup.engine.began()
        gone, stays = setup.begin(encoded_ad(2)), setup.begin(encoded_ad(3))
        await asyncio.sleep(0)
        gone.cancel()
        await setup.queued(1)
        setup.engine.release(2)
        await asyncio.gather(first, stays)
        assert setup.engine.batches == [[1], [3]]

    in_event_loop(test, tmp_path)


def test_front_ends_share_the_times_that_refused_clients_are_told(tmp_path):
    """Each refused client is told a later time, whichever front end refuses it."""

    async def test(setup: FrontEndsAndEngine) -> None:
        waiting = setup.begin(*(encoded_ad(100) for _ in range(6)), lane=Lane.BULK, front=0)
        await setup.engine.began()
        retry_after = []
        for front in (1, 0, 1):
            with pytest.raises(OverloadedError) as caught:
                await setup.classify(encoded_ad(100), lane=Lane.BULK, front=front)
            retry_after.append(caught.value.retry_after)
        # One second of work for each that was refused before, by any front end.
        assert retry_after == [1, 2, 3]
        setup.engine.release(6)
        await waiting

    in_event_loop(test, tmp_path)


def test_a_draining_front_end_finishes_its_requests_while_others_go_on(tmp_path):
    async def test(setup: FrontEndsAndEngine) -> None:
        running = setup.begin(encoded_ad(1), front=0)
        await setup.engine.began()
        draining = asyncio.create_task(setup.fronts[0].drain(10))
        await asyncio.sleep(0)
        with pytest.raises(NotReadyError, match="shutting down"):
            await setup.classify(encoded_ad(2), front=0)
        other = setup.begin(encoded_ad(3), front=1)
        setup.engine.release(2)
        await draining
        assert running.done()
        assert await running
        assert await other

    in_event_loop(test, tmp_path)


def test_after_the_grace_period_queued_requests_are_refused(tmp_path):
    """Ads in a batch are finished all the same, and other front ends are not affected."""

    async def test(setup: FrontEndsAndEngine) -> None:
        running = setup.begin(encoded_ad(1), front=0)
        await setup.engine.began()
        waiting, other = setup.begin(encoded_ad(2), front=0), setup.begin(encoded_ad(3), front=1)
        await setup.queued(2)
        draining = asyncio.create_task(setup.fronts[0].drain(0))
        with pytest.raises(NotReadyError, match="shutting down"):
            await waiting
        assert not draining.done()
        setup.engine.release(2)
        assert await running
        assert await other
        await draining

    in_event_loop(test, tmp_path)


def test_a_lost_engine_fails_all_requests_and_refuses_new_ones(tmp_path):
    async def test(setup: FrontEndsAndEngine) -> None:
        running = setup.begin(encoded_ad(1))
        await setup.engine.began()
        waiting = setup.begin(encoded_ad(2))
        await setup.queued(1)
        with setup.fronts[0].admission.admit(1, 10, Lane.INTERACTIVE) as tokenizing:
            setup.fronts[0].fail_all(FatalEngineError("The engine process ended."))
            for call in (running, waiting):
                with pytest.raises(FatalEngineError, match="ended"):
                    await call
            with pytest.raises(FatalEngineError):
                await setup.fronts[0].classify([encoded_ad()], tokenizing)
        with pytest.raises(NotReadyError, match="restarting"):
            await setup.classify(encoded_ad())
        setup.engine.release(2)

    in_event_loop(test, tmp_path)


def test_the_trace_has_the_queue_and_the_batch_as_stages(tmp_path):
    async def test(setup: FrontEndsAndEngine) -> None:
        setup.engine.release()
        await setup.classify(encoded_ad(1))
        stages = setup.trace.stages()
        assert list(stages) == ["queue", "batch"]
        assert all(seconds > 0 for seconds in stages.values())
        assert sum(stages.values()) < setup.trace.seconds

    in_event_loop(test, tmp_path)


def test_requests_of_one_loop_turn_go_out_in_one_message(tmp_path):
    async def main() -> None:
        context = zmq.Context()
        router = context.socket(zmq.ROUTER)
        router.bind(f"ipc://{tmp_path}/bare")
        dealer = unlimited_socket(context, zmq.DEALER)
        dealer.connect(f"ipc://{tmp_path}/bare")
        admission = AdmissionController(50, 5.0, SharedCounters.for_one_process(100.0), Metrics())
        remote = RemoteBatcher(admission, [dealer], LABELS)
        remote.start()
        with admission.admit(2, 2, Lane.BULK) as ticket:
            calls = [
                asyncio.create_task(remote.classify([encoded_ad(1)], ticket)) for _ in range(2)
            ]
            async with asyncio.timeout(20):
                await until(lambda: bool(router.getsockopt(zmq.EVENTS) & zmq.POLLIN))
            assert len(list(decode_requests(router.recv_multipart()[1:]))) == 2
            remote.fail_all(FatalEngineError("for the test to end"))
            await asyncio.gather(*calls, return_exceptions=True)
        await remote.drain(1)
        context.destroy(linger=0)

    asyncio.run(main())
