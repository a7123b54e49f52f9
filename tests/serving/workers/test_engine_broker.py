"""`EngineBroker` with real front ends' batchers over ZeroMQ sockets; see `FrontEndsAndEngine`."""

import asyncio
import logging

import pytest
import zmq

from app.core.errors import EngineError, FatalEngineError, OverloadedError
from app.serving.scheduling.lanes import Lane
from app.serving.workers.frames import SubmittedRequest, decode_results, encode_requests
from tests.support.front_ends import FRONT_ENDS, FrontEndsAndEngine, in_event_loop, scores, until
from tests.support.step_engine import encoded_ad


def test_ads_of_all_front_ends_share_a_batch(tmp_path):
    async def test(setup: FrontEndsAndEngine) -> None:
        first = setup.begin(encoded_ad(1))
        await setup.engine.began()
        rest = [setup.begin(encoded_ad(2 + front), front=front) for front in range(FRONT_ENDS)]
        await setup.queued(FRONT_ENDS)
        setup.engine.release(2)
        await asyncio.gather(first, *rest)
        assert sorted(setup.engine.batches[1]) == [2, 3]

    in_event_loop(test, tmp_path)


def test_queued_requests_of_a_dead_front_end_are_dropped(tmp_path):
    async def test(setup: FrontEndsAndEngine) -> None:
        first = setup.begin(encoded_ad(1), front=1)
        await setup.engine.began()
        orphan, stays = setup.begin(encoded_ad(2), front=0), setup.begin(encoded_ad(3), front=1)
        await setup.queued(2)
        setup.broker.drop_front_end(b"front-0")
        await setup.queued(1)
        # Its last messages may arrive after the supervisor has reported its end.
        setup.begin(encoded_ad(4), front=0)
        setup.engine.release(2)
        await asyncio.gather(first, stays)
        last = setup.begin(encoded_ad(5), front=1)
        setup.engine.release()
        await last
        assert setup.engine.batches == [[1], [3], [5]]
        assert not orphan.done()
        setup.fronts[0].fail_all(FatalEngineError("for the test to end"))

    in_event_loop(test, tmp_path)


def test_a_failed_batch_fails_its_requests_and_logs_their_ids(tmp_path, caplog):
    async def test(setup: FrontEndsAndEngine) -> None:
        def explode(batch):
            raise RuntimeError("a secret of the engine")

        setup.engine.outcome = explode
        setup.engine.release()
        with pytest.raises(EngineError) as caught:
            await setup.classify(encoded_ad(1), request_id="job-7")
        assert "secret" not in str(caught.value)

    with caplog.at_level(logging.ERROR):
        in_event_loop(test, tmp_path)
    assert "requests job-7" in caplog.text


def test_a_failed_ad_fails_its_own_request_only(tmp_path):
    async def test(setup: FrontEndsAndEngine) -> None:
        setup.engine.outcome = lambda batch: [
            EngineError("does not fit") if item.tokens == 3 else scores(item) for item in batch
        ]
        first = setup.begin(encoded_ad(1))
        await setup.engine.began()
        bad, good = setup.begin(encoded_ad(3), encoded_ad(98)), setup.begin(encoded_ad(4))
        await setup.queued(3)
        setup.engine.release(3)
        await first
        with pytest.raises(EngineError, match="does not fit"):
            await bad
        assert await good

    in_event_loop(test, tmp_path)


def test_a_request_that_waited_too_long_gets_a_retry_time(tmp_path):
    async def test(setup: FrontEndsAndEngine) -> None:
        first = setup.begin(encoded_ad(1))
        await setup.engine.began()
        late = setup.begin(encoded_ad(60), encoded_ad(70))
        await setup.queued(2)
        setup.now += 5.5
        setup.engine.release(2)
        with pytest.raises(OverloadedError) as caught:
            await late
        assert (caught.value.reason, caught.value.retry_after) == ("queue_late", 1)
        await first

    in_event_loop(test, tmp_path)


def test_a_request_that_reaches_a_lost_engine_fails(tmp_path):
    async def test(setup: FrontEndsAndEngine) -> None:
        def lost(batch):
            raise FatalEngineError("The device failed.")

        setup.engine.outcome = lost
        setup.engine.release()
        for _ in range(2):
            with pytest.raises(FatalEngineError, match="device failed"):
                await setup.classify(encoded_ad())

    in_event_loop(test, tmp_path)


def test_the_results_of_a_batch_come_in_one_message(tmp_path):
    async def test(setup: FrontEndsAndEngine) -> None:
        dealer = setup.dealer(b"bare")
        requests = [
            SubmittedRequest(number, Lane.BULK, "", [encoded_ad(number + 1)]) for number in range(3)
        ]
        dealer.send_multipart(encode_requests(requests))
        setup.engine.release()
        await until(lambda: bool(dealer.getsockopt(zmq.EVENTS) & zmq.POLLIN))
        results = list(decode_results(dealer.recv_multipart()))
        assert [one.number for one in results] == [0, 1, 2]
        dealer.close(linger=0)

    in_event_loop(test, tmp_path)
