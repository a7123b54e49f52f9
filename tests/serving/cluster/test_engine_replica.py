"""An engine replica without Ray: its methods are called as Serve calls them."""

import asyncio
import logging
import warnings
from types import SimpleNamespace

import pytest

from app.core.errors import FatalEngineError, NotReadyError, OverloadedError, StartupError
from app.core.types import Ad
from app.serving.inference.loading import ENGINE
from app.serving.request_trace import current
from app.serving.scheduling.lanes import Lane
from app.serving.settings import load_settings
from tests.support.application import served_model

with warnings.catch_warnings():
    # Ray gives warnings of its own libraries at import.
    warnings.simplefilter("ignore")
    from app.serving.cluster.engine_replica import EngineReplica
    from app.serving.cluster.replica_client import CallContext


class LocalEngine(EngineReplica):
    """An engine replica whose `__del__` a test awaits as `end`, as Serve does."""

    end = EngineReplica.__del__

    def __del__(self):
        """Do nothing: Python does not await it."""


@pytest.fixture
def engine():
    """An engine replica without a model; the logs that it configures are restored afterwards."""
    root, server = logging.getLogger(), logging.getLogger("uvicorn.error")
    before = root.handlers[:], root.level, server.level
    yield LocalEngine(load_settings({"threads": 1, "device": "cpu"}, {}), ENGINE, lambda: "e1")
    root.handlers[:], root.level, server.level = before


class FakeService:
    """A service that returns its arguments, once its gate is open."""

    def __init__(self, model, error=None):
        self.model, self.error = model, error
        self.gate = asyncio.Event()
        self.gate.set()

    async def classify(self, ads, *, lane, top_k):
        await self.gate.wait()
        if self.error:
            raise self.error
        current().merge({"batch": 0.5}, 7)
        return [ads, lane, top_k, current().request_id]


def classify(engine, known_model):
    return engine.classify(CallContext("job-1", known_model), [Ad("Koch")], Lane.BULK, 2)


def test_a_reply_has_the_answer_the_stages_and_an_unknown_model(engine, checkpoint):
    model = served_model(checkpoint)

    async def main():
        engine.state.service = FakeService(model)
        reply = await classify(engine, None)
        assert reply.value == [[Ad("Koch")], Lane.BULK, 2, "job-1"]
        assert (reply.stages, reply.tokens, reply.model) == ({"batch": 0.5}, 7, model)
        assert (await classify(engine, model.identity)).model is None

    asyncio.run(main())


def test_errors_are_replies_and_unexpected_ones_show_no_details(engine, checkpoint):
    async def main():
        refusal = OverloadedError("busy", 9, "queue_slow")
        engine.state.service = FakeService(served_model(checkpoint), refusal)
        assert (await classify(engine, None)).value is refusal
        engine.state.service.error = RuntimeError("inside")
        unexpected = (await classify(engine, None)).value
        assert (unexpected.status, str(unexpected)) == (500, "Something unexpected failed.")

    asyncio.run(main())


def test_a_reply_names_the_model_that_answered_despite_a_swap(engine, checkpoint):
    model = served_model(checkpoint)

    async def main():
        old = engine.state.service = FakeService(model)
        old.gate.clear()
        reply = asyncio.create_task(classify(engine, ("tiny", "new")))
        await asyncio.sleep(0)
        engine.state.service = FakeService(SimpleNamespace(identity=("tiny", "new")))
        old.gate.set()
        assert (await reply).model == model

    asyncio.run(main())


def test_a_replica_whose_device_is_lost_is_not_healthy(engine):
    async def main():
        await engine.check_health()
        engine._lost = FatalEngineError("the device failed")
        with pytest.raises(FatalEngineError):
            await engine.check_health()

    asyncio.run(main())


def test_a_replica_returns_its_metrics_with_its_name(engine):
    name, text = asyncio.run(engine.exposition())
    assert name == "e1"
    assert "doppelkopf_batch_ads" in text


def test_a_replica_starts_swaps_refuses_and_ends(engine, tiny_folder, other_folder, caplog):
    async def served():
        return (await engine.describe(CallContext("job-1", None))).model.name

    async def main():
        await engine.reconfigure({"model": str(tiny_folder)})
        assert await served() == tiny_folder.name
        reply = await classify(engine, None)
        assert [list(one.heads) for one in reply.value] == [["job_category", "min_education"]]
        assert (await engine.require_ready(CallContext("job-1", None))).value is None
        await engine.reconfigure({"model": str(other_folder)})
        assert await served() == other_folder.name
        await engine.reconfigure({"model": str(tiny_folder / "nowhere")})
        assert await served() == other_folder.name
        await engine.end()
        reply = await engine.require_ready(CallContext("job-1", None))
        assert isinstance(reply.value, NotReadyError)

    logging.getLogger("app.serving.cluster.engine_replica").addHandler(caplog.handler)
    try:
        asyncio.run(main())
    finally:
        logging.getLogger("app.serving.cluster.engine_replica").removeHandler(caplog.handler)
    assert "the model was not replaced: There is no checkpoint folder" in caplog.text


def test_a_replica_that_cannot_start_raises_the_reason(engine, tiny_folder):
    with pytest.raises(StartupError, match="There is no checkpoint folder"):
        asyncio.run(engine.reconfigure({"model": str(tiny_folder / "nowhere")}))
    asyncio.run(engine.end())
