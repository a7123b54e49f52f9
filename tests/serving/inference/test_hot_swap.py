import asyncio
import dataclasses
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.core.errors import (
    CheckpointError,
    CheckpointRefusedError,
    InvalidRequestError,
    NotReadyError,
    SwapRunningError,
)
from app.serving.inference.hot_swap import Swapper
from app.serving.metrics import Metrics
from tests.support.application import served_model

STORE = Path("/store")


class FakeService:
    """A service that retires when a test sets `retired`."""

    def __init__(self, model):
        self.model, self.retired, self.drained = model, asyncio.Event(), False
        self.refusal = None

    async def require_ready(self):
        if self.refusal:
            raise self.refusal

    async def retire(self, _):
        await self.retired.wait()

    async def drain(self, _):
        self.drained = True


class Harness:
    """A swapper with a store of revisions by name; a test can hold up its loading with `gate`."""

    def __init__(self, checkpoint):
        self.model = served_model(checkpoint)
        self.revisions = {"v1": "1", "v2": "2", "v3": "3"}
        self.metrics = Metrics()
        self.state = SimpleNamespace(service=self.of("v1"))
        self.loads, self.error = [], None
        self.started = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()
        self.swapper = Swapper(self.state, STORE / "v1", self.load, self.identify, self.metrics)

    def of(self, name):
        model = dataclasses.replace(self.model, name=name, revision=self.revisions[name])
        return FakeService(model)

    def identify(self, folder):
        if folder.name not in self.revisions:
            raise CheckpointError(f"There is no checkpoint folder {folder}.")
        return folder.name, self.revisions[folder.name]

    async def load(self, folder):
        loaded = self.of(folder.name)
        self.loads.append(folder.name)
        self.started.put_nowait(folder.name)
        await self.gate.wait()
        if self.error:
            raise self.error
        return lambda: loaded

    def swaps(self, result):
        return self.metrics.registry.get_sample_value("doppelkopf_swaps_total", {"result": result})


@pytest.fixture
def in_harness(checkpoint):
    def run(test):
        async def main():
            await test(Harness(checkpoint))

        asyncio.run(asyncio.wait_for(main(), 10))

    return run


def test_the_new_checkpoint_is_served_once_it_is_loaded(in_harness):
    async def test(harness):
        harness.gate.clear()
        old = harness.state.service
        task = asyncio.create_task(harness.swapper.swap("v2"))
        await harness.started.get()
        assert harness.state.service is old
        harness.gate.set()
        swap = await task
        assert (swap.old.revision, swap.new.revision, swap.changed) == ("1", "2", True)
        assert harness.state.service.model == swap.new
        assert harness.swaps("ok") == 1
        assert harness.metrics.last_swap._value.get() > 0

    in_harness(test)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CheckpointError("weights are damaged."), "weights are damaged."),
        (MemoryError(), "There is no memory to load it beside the served one."),
        (RuntimeError("CUDA out of memory"), "There is no memory to load it"),
        (RuntimeError("an inner secret"), "It could not be loaded; the server's log tells why."),
    ],
)
def test_a_checkpoint_that_cannot_be_loaded_is_refused(in_harness, error, said):
    async def test(harness):
        old, harness.error = harness.state.service, error
        with pytest.raises(CheckpointRefusedError, match=said):
            await harness.swapper.swap("v2")
        assert harness.state.service is old
        assert (harness.swaps("refused"), harness.swaps("ok")) == (1, 0)
        harness.error = None
        assert (await harness.swapper.swap("v2")).changed

    in_harness(test)


def test_a_checkpoint_that_does_not_verify_is_never_loaded(in_harness):
    async def test(harness):
        with pytest.raises(CheckpointRefusedError, match="There is no checkpoint folder"):
            await harness.swapper.swap("v9")
        with pytest.raises(InvalidRequestError):
            await harness.swapper.swap("../v2")
        assert harness.loads == []

    in_harness(test)


def test_the_served_checkpoint_is_not_loaded_again(in_harness):
    async def test(harness):
        swap = await harness.swapper.swap()
        assert not swap.changed
        assert (harness.loads, harness.swaps("unchanged")) == ([], 1)

    in_harness(test)


def test_a_second_swap_is_refused_while_one_is_running(in_harness):
    async def test(harness):
        harness.gate.clear()
        task = asyncio.create_task(harness.swapper.swap("v2"))
        await harness.started.get()
        with pytest.raises(SwapRunningError):
            await harness.swapper.swap("v3")
        harness.gate.set()
        assert (await task).new.name == "v2"

    in_harness(test)


def test_swap_to_path_waits_for_a_running_swap(in_harness):
    async def test(harness):
        harness.gate.clear()
        first = harness.state.service
        running = asyncio.create_task(harness.swapper.swap("v2"))
        await harness.started.get()
        taking = asyncio.create_task(harness.swapper.swap_to_path(Path("/elsewhere/v3")))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not taking.done()
        assert harness.loads == ["v2"]
        harness.gate.set()
        first.retired.set()
        assert (await running).new.name == "v2"
        swap = await taking
        assert (swap.old.name, swap.new.name) == ("v2", "v3")
        assert harness.state.service.model == swap.new

    in_harness(test)


def test_swap_to_path_refuses_a_bad_checkpoint(in_harness):
    async def test(harness):
        old = harness.state.service
        with pytest.raises(CheckpointRefusedError, match="There is no checkpoint folder"):
            await harness.swapper.swap_to_path(Path("/elsewhere/v9"))
        assert harness.state.service is old

    in_harness(test)


def test_no_third_model_is_loaded_before_the_first_retires(in_harness):
    async def test(harness):
        first = harness.state.service
        await harness.swapper.swap("v2")
        task = asyncio.create_task(harness.swapper.swap("v3"))
        await asyncio.wait({task}, timeout=0.1)
        assert harness.loads == ["v2"]
        first.retired.set()
        assert (await task).new.name == "v3"

    in_harness(test)


def test_reload_serves_the_configured_checkpoint(in_harness):
    async def test(harness):
        harness.gate.clear()
        harness.revisions["v1"] = "1b"
        harness.swapper.reload()
        await harness.started.get()
        # The folder changes again while it is loaded. Two more calls cause one more swap.
        harness.revisions["v1"] = "1c"
        harness.swapper.reload()
        harness.swapper.reload()
        harness.state.service.retired.set()
        harness.gate.set()
        await harness.started.get()
        await harness.swapper._reloading
        assert harness.state.service.model.revision == "1c"
        assert harness.swaps("ok") == 2
        assert harness.swaps("unchanged") == 0

    in_harness(test)


def test_a_reload_during_a_swap_follows_it(in_harness):
    async def test(harness):
        harness.gate.clear()
        task = asyncio.create_task(harness.swapper.swap("v2"))
        await harness.started.get()
        harness.swapper.reload()
        harness.state.service.retired.set()
        harness.gate.set()
        await task
        await harness.started.get()
        assert harness.loads == ["v2", "v1"]

    in_harness(test)


def test_a_failed_reload_logs_one_sentence(in_harness, caplog):
    async def test(harness):
        del harness.revisions["v1"]
        harness.swapper.reload()
        await harness.swapper._reloading

    with caplog.at_level(logging.INFO):
        in_harness(test)
    (record,) = (one for one in caplog.records if one.name == "app.serving.inference.hot_swap")
    assert record.getMessage() == (
        "the model was not replaced: There is no checkpoint folder /store/v1."
    )
    assert record.exc_info is None


def test_a_draining_service_is_not_replaced(in_harness):
    async def test(harness):
        harness.gate.clear()
        old = harness.state.service
        task = asyncio.create_task(harness.swapper.swap("v2"))
        await harness.started.get()
        old.refusal = NotReadyError("The service is shutting down.")
        harness.gate.set()
        with pytest.raises(NotReadyError):
            await task
        assert harness.state.service is old

    in_harness(test)


def test_drain_drains_the_replaced_service(in_harness):
    async def test(harness):
        old = harness.state.service
        await harness.swapper.swap("v2")
        await harness.swapper.drain()
        assert old.drained

    in_harness(test)


def test_a_swap_before_the_first_model_is_refused(in_harness):
    async def test(harness):
        harness.state.service = None
        with pytest.raises(NotReadyError, match="still loading"):
            await harness.swapper.swap("v2")

    in_harness(test)
