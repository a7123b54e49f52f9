"""A front end's swaps against a fake control link: the test is the supervisor."""

import asyncio
from types import SimpleNamespace

import pytest

from app.core.errors import CheckpointRefusedError, NotReadyError
from app.core.served_model import CompletedSwap
from app.serving.workers.control_messages import (
    NowServing,
    OldRequestsDone,
    ServeGeneration,
    SwapRequested,
    SwapResult,
)
from app.serving.workers.frontend_swap import FrontEndSwapper


class FakeService:
    """A service that notes its end, and whose requests end when the test says so."""

    def __init__(self):
        self.requests_done, self.drained = asyncio.Event(), False

    async def require_ready(self):
        pass

    async def retire(self, _):
        await self.requests_done.wait()

    async def drain(self, _):
        self.drained = True


class FrontEndSetup:
    """A swapper with the messages that it sent, serving `old`; it would load `new`."""

    def __init__(self):
        self.sent, self.old, self.new = [], FakeService(), FakeService()
        self.state = SimpleNamespace(service=self.old)
        link = SimpleNamespace(send=self.sent.append)
        self.swapper = FrontEndSwapper(self.state, link, self._make_service, quiet_seconds=0)

    async def _make_service(self, _):
        return self.new


async def turns():
    """Let everything in the event loop go on that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def in_event_loop(test):
    async def main():
        await test(FrontEndSetup())

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_swap_returns_the_supervisors_result():
    async def test(setup):
        swap = asyncio.create_task(setup.swapper.swap("v2"))
        await turns()
        assert setup.sent == [SwapRequested(1, "v2")]
        result = CompletedSwap(None, None, 1.0)
        setup.swapper.on_swap_result(SwapResult(1, result))
        assert await swap is result

    in_event_loop(test)


def test_a_swap_raises_the_supervisors_error():
    async def test(setup):
        swap = asyncio.create_task(setup.swapper.swap())
        await turns()
        setup.swapper.on_swap_result(SwapResult(1, CheckpointRefusedError("damaged")))
        with pytest.raises(CheckpointRefusedError, match="damaged"):
            await swap

    in_event_loop(test)


def test_a_result_whose_caller_has_left_is_ignored():
    async def test(setup):
        swap = asyncio.create_task(setup.swapper.swap())
        await turns()
        swap.cancel()
        await turns()
        setup.swapper.on_swap_result(SwapResult(1, CheckpointRefusedError("damaged")))

    in_event_loop(test)


def test_no_swap_starts_while_the_model_is_loading():
    async def test(setup):
        setup.state.service = None
        with pytest.raises(NotReadyError, match="loading"):
            await setup.swapper.swap()
        assert setup.sent == []

    in_event_loop(test)


def test_the_new_generation_serves_while_old_requests_finish():
    async def test(setup):
        setup.swapper.serving_first(0)
        assert setup.sent == [NowServing(0), OldRequestsDone(0)]
        setup.sent.clear()
        setup.swapper.on_serve_generation(ServeGeneration(1, 1))
        await turns()
        assert setup.state.service is setup.new
        assert setup.sent == [NowServing(1)]
        setup.old.requests_done.set()
        await turns()
        assert setup.sent == [NowServing(1), OldRequestsDone(1)]

    in_event_loop(test)


def test_a_generation_that_is_served_already_changes_nothing():
    async def test(setup):
        setup.swapper.serving_first(3)
        setup.sent.clear()
        setup.swapper.on_serve_generation(ServeGeneration(1, 3))
        await turns()
        assert setup.state.service is setup.old
        assert setup.sent == []

    in_event_loop(test)


def test_draining_fails_waiting_swaps_and_drains_the_old_service():
    async def test(setup):
        setup.swapper.on_serve_generation(ServeGeneration(1, 1))
        swap = asyncio.create_task(setup.swapper.swap())
        await turns()
        await setup.swapper.drain()
        with pytest.raises(NotReadyError, match="shutting down"):
            await swap
        assert setup.old.drained
        assert not setup.new.drained

    in_event_loop(test)
