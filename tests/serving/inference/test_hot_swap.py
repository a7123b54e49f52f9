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


class Old:
    """A service that leaves when it is told to."""

    def __init__(self, model):
        self.model, self.left, self.drained = model, asyncio.Event(), False
        self.refusal = None

    async def require_ready(self):
        if self.refusal:
            raise self.refusal

    async def retire(self, _):
        await self.left.wait()

    async def drain(self, _):
        self.drained = True


class World:
    """A swapper whose store holds revisions by name, and whose loading a test holds up."""

    def __init__(self, checkpoint):
        self.model = served_model(checkpoint)
        self.revisions = {"v1": "1", "v2": "2", "v3": "3"}
        self.metrics = Metrics()
        self.state = SimpleNamespace(service=self.of("v1"))
        self.loads, self.error = [], None
        self.begun = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()
        self.swapper = Swapper(self.state, STORE / "v1", self.load, self.identify, self.metrics)

    def of(self, name):
        model = dataclasses.replace(self.model, name=name, revision=self.revisions[name])
        return Old(model)

    def identify(self, folder):
        if folder.name not in self.revisions:
            raise CheckpointError(f"There is no checkpoint folder {folder}.")
        return folder.name, self.revisions[folder.name]

    async def load(self, folder):
        loaded = self.of(folder.name)
        self.loads.append(folder.name)
        self.begun.put_nowait(folder.name)
        await self.gate.wait()
        if self.error:
            raise self.error
        return lambda: loaded

    def swaps(self, result):
        return self.metrics.registry.get_sample_value("doppelkopf_swaps_total", {"result": result})


@pytest.fixture
def in_world(checkpoint):
    def run(test):
        async def main():
            await test(World(checkpoint))

        asyncio.run(asyncio.wait_for(main(), 10))

    return run


def test_the_new_one_is_served_when_it_is_loaded(in_world):
    async def test(world):
        world.gate.clear()
        old = world.state.service
        task = asyncio.create_task(world.swapper.swap("v2"))
        await world.begun.get()
        assert world.state.service is old
        world.gate.set()
        swap = await task
        assert (swap.old.revision, swap.new.revision, swap.changed) == ("1", "2", True)
        assert world.state.service.model == swap.new
        assert world.swaps("ok") == 1
        assert world.metrics.last_swap._value.get() > 0

    in_world(test)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CheckpointError("weights are damaged."), "weights are damaged."),
        (MemoryError(), "There is no memory to load it beside the served one."),
        (RuntimeError("CUDA out of memory"), "There is no memory to load it"),
        (RuntimeError("an inner secret"), "It could not be loaded; the server's log tells why."),
    ],
)
def test_one_that_cannot_be_loaded_is_refused_and_the_old_one_goes_on(in_world, error, said):
    async def test(world):
        old, world.error = world.state.service, error
        with pytest.raises(CheckpointRefusedError, match=said):
            await world.swapper.swap("v2")
        assert world.state.service is old
        assert (world.swaps("refused"), world.swaps("ok")) == (1, 0)
        world.error = None
        assert (await world.swapper.swap("v2")).changed

    in_world(test)


def test_one_that_does_not_verify_is_never_loaded(in_world):
    async def test(world):
        with pytest.raises(CheckpointRefusedError, match="There is no checkpoint folder"):
            await world.swapper.swap("v9")
        with pytest.raises(InvalidRequestError):
            await world.swapper.swap("../v2")
        assert world.loads == []

    in_world(test)


def test_what_is_served_already_is_not_loaded_again(in_world):
    async def test(world):
        swap = await world.swapper.swap()
        assert not swap.changed
        assert (world.loads, world.swaps("unchanged")) == ([], 1)

    in_world(test)


def test_a_second_one_is_refused_while_the_first_is_loading(in_world):
    async def test(world):
        world.gate.clear()
        task = asyncio.create_task(world.swapper.swap("v2"))
        await world.begun.get()
        with pytest.raises(SwapRunningError):
            await world.swapper.swap("v3")
        world.gate.set()
        assert (await task).new.name == "v2"

    in_world(test)


def test_a_checkpoint_from_anywhere_is_taken_once_a_running_swap_is_over(in_world):
    async def test(world):
        world.gate.clear()
        first = world.state.service
        running = asyncio.create_task(world.swapper.swap("v2"))
        await world.begun.get()
        taking = asyncio.create_task(world.swapper.swap_to_path(Path("/elsewhere/v3")))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not taking.done()
        assert world.loads == ["v2"]
        world.gate.set()
        first.left.set()
        assert (await running).new.name == "v2"
        swap = await taking
        assert (swap.old.name, swap.new.name) == ("v2", "v3")
        assert world.state.service.model == swap.new

    in_world(test)


def test_a_checkpoint_from_anywhere_that_cannot_be_served_is_refused(in_world):
    async def test(world):
        old = world.state.service
        with pytest.raises(CheckpointRefusedError, match="There is no checkpoint folder"):
            await world.swapper.swap_to_path(Path("/elsewhere/v9"))
        assert world.state.service is old

    in_world(test)


def test_no_third_model_is_loaded_while_the_replaced_one_still_answers(in_world):
    async def test(world):
        first = world.state.service
        await world.swapper.swap("v2")
        task = asyncio.create_task(world.swapper.swap("v3"))
        await asyncio.wait({task}, timeout=0.1)
        assert world.loads == ["v2"]
        first.left.set()
        assert (await task).new.name == "v3"

    in_world(test)


def test_a_signal_serves_what_the_setting_leads_to_by_now(in_world):
    async def test(world):
        world.gate.clear()
        world.revisions["v1"] = "1b"
        world.swapper.reload()
        await world.begun.get()
        # The folder changes again while it is loaded; two more signals are one.
        world.revisions["v1"] = "1c"
        world.swapper.reload()
        world.swapper.reload()
        world.state.service.left.set()
        world.gate.set()
        await world.begun.get()
        await world.swapper._reading
        assert world.state.service.model.revision == "1c"
        assert world.swaps("ok") == 2
        assert world.swaps("unchanged") == 0

    in_world(test)


def test_a_signal_during_a_request_is_heeded_after_it(in_world):
    async def test(world):
        world.gate.clear()
        task = asyncio.create_task(world.swapper.swap("v2"))
        await world.begun.get()
        world.swapper.reload()
        world.state.service.left.set()
        world.gate.set()
        await task
        await world.begun.get()
        assert world.loads == ["v2", "v1"]

    in_world(test)


def test_what_a_signal_cannot_serve_leaves_one_sentence(in_world, caplog):
    async def test(world):
        del world.revisions["v1"]
        world.swapper.reload()
        await world.swapper._reading

    with caplog.at_level(logging.INFO):
        in_world(test)
    (record,) = (one for one in caplog.records if one.name == "app.serving.inference.hot_swap")
    assert record.getMessage() == (
        "the model was not replaced: There is no checkpoint folder /store/v1."
    )
    assert record.exc_info is None


def test_a_service_that_drains_takes_no_new_model(in_world):
    async def test(world):
        world.gate.clear()
        old = world.state.service
        task = asyncio.create_task(world.swapper.swap("v2"))
        await world.begun.get()
        old.refusal = NotReadyError("The service is shutting down.")
        world.gate.set()
        with pytest.raises(NotReadyError):
            await task
        assert world.state.service is old

    in_world(test)


def test_draining_settles_what_the_replaced_one_has_not_answered(in_world):
    async def test(world):
        old = world.state.service
        await world.swapper.swap("v2")
        await world.swapper.drain()
        assert old.drained

    in_world(test)


def test_before_the_first_model_there_is_nothing_to_replace(in_world):
    async def test(world):
        world.state.service = None
        with pytest.raises(NotReadyError, match="still loading"):
            await world.swapper.swap("v2")

    in_world(test)
