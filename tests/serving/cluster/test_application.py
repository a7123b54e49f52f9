"""The deployments of `app.serving.cluster.application` as far as no cluster is needed: what is deployed, and an engine.

What they do together is said by `test_cluster.py`, at a real one.
"""

import asyncio
import logging
import pkgutil
import re
import warnings
from types import SimpleNamespace

import pytest
import yaml

from app.core.errors import (
    FatalEngineError,
    NotReadyError,
    OverloadedError,
    SettingsError,
    StartupError,
)
from app.core.types import Ad
from app.serving.inference.loading import ENGINE
from app.serving.request_trace import current
from app.serving.scheduling.lanes import Lane
from app.serving.server.http_connection import KEEP_ALIVE_SECONDS
from app.serving.settings import Settings, load_settings
from tests.support.application import served_model
from tests.support.repository import ROOT

with warnings.catch_warnings():
    # Its own code warns while it is imported.
    warnings.simplefilter("ignore")
    from ray.serve.config import AutoscalingConfig
    from ray.serve.schema import ServeDeploySchema

    from app.serving.cluster.application import application, configured, deployments
    from app.serving.cluster.engine_replica import EngineReplica
    from app.serving.cluster.ingress import Ingress, _all
    from app.serving.cluster.replica_client import Call

FOLDER = ROOT / "deploy" / "ray"
FILES = sorted(FOLDER.glob("*.yaml"))
KEY = "a-key-of-good-length"


def bound(gpu=False, **settings):
    """Return both deployments, the ingress first."""
    ingress = deployments(load_settings(settings, {}), ENGINE, gpu=gpu)._bound_deployment
    (engines,) = (one for one in ingress.init_args if not isinstance(one, Settings))
    return ingress, engines._bound_deployment


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"workers": 2}, "DOPPELKOPF_WORKERS: in a cluster num_replicas of Ingress rules."),
        ({"admin_keys": KEY}, "DOPPELKOPF_ADMIN_KEYS: in a cluster user_config of Engine rules."),
        ({"max_queue_seconds": 0}, "DOPPELKOPF_MAX_QUEUE_SECONDS: "),
        ({"no_such": 1}, "DOPPELKOPF_NO_SUCH: "),
    ],
)
def test_a_setting_that_has_no_meaning_in_a_cluster_ends_the_start(args, said):
    with pytest.raises(SettingsError, match=re.escape(said)):
        application(args)


def test_arguments_are_settings_and_the_name_of_what_computes():
    settings, engine = configured({"engine": "a.b:C", "max_queue_seconds": 2})
    assert (settings.max_queue_seconds, engine) == (2, "a.b:C")
    assert configured({})[1] == ENGINE


def test_a_replica_takes_a_gpu_where_the_cluster_has_any():
    assert bound(gpu=True)[1].ray_actor_options["num_gpus"] == 1
    assert bound(gpu=False)[1].ray_actor_options == {"num_cpus": 1}


def test_another_checkpoint_is_another_configuration_and_no_other_deployment():
    ingresses, engines = zip(bound(model="here"), bound(model="there"), strict=True)
    assert [one.user_config for one in engines] == [{"model": "here"}, {"model": "there"}]
    assert engines[0].init_args == engines[1].init_args
    assert ingresses[0].init_args[0] == ingresses[1].init_args[0]


def test_a_replica_has_the_grace_that_is_set_and_limits_of_its_own():
    for one in bound(grace_seconds=7, max_queued_ads=300):
        assert one._deployment_config.graceful_shutdown_timeout_s > 7
        assert one.max_ongoing_requests == 300


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_operators_file_names_what_is_there(file):
    text = file.read_text(encoding="utf-8")
    config = ServeDeploySchema.model_validate(yaml.safe_load(text))
    (app,) = config.applications
    assert pkgutil.resolve_name(app.import_path) is application
    configured(app.args)
    assert [one.name for one in app.deployments] == [EngineReplica.__name__, Ingress.__name__]
    assert app.deployments[0].user_config == {"model": str(Settings.model_fields["model"].default)}
    for one in app.deployments:
        assert one.autoscaling_config.keys() <= AutoscalingConfig.model_fields.keys()
        AutoscalingConfig(**one.autoscaling_config)
    assert config.http_options.keep_alive_timeout_s == KEEP_ALIVE_SECONDS
    (callback,) = re.findall(r"_CALLBACK_IMPORT_PATH=(\S+)", text)
    assert callable(pkgutil.resolve_name(callback))
    assert set(re.findall(r"DOPPELKOPF_(\w+)", text)) <= {
        name.upper() for name in Settings.model_fields
    }


def test_one_file_is_for_cpus_and_one_for_gpus():
    assert [file.stem for file in FILES] == ["cpu", "gpu"]
    for file in FILES:
        (app,) = yaml.safe_load(file.read_text(encoding="utf-8"))["applications"]
        options = app["deployments"][0]["ray_actor_options"]
        assert ("num_gpus" in options) == (file.stem == "gpu")


class Told:
    """A deployment whose replicas all tell something."""

    def __init__(self, *told):
        self.told = told

    def broadcast(self, method):
        assert method == "exposition"
        return self

    async def results_async(self, *, timeout_s, return_exceptions):
        assert timeout_s > 0
        if isinstance(self.told[0], TimeoutError):
            raise self.told[0]
        assert return_exceptions
        return list(self.told)


def test_a_replica_that_has_just_died_is_left_out_of_the_metrics():
    told = asyncio.run(_all(Told(("one", "a 1"), RuntimeError("died"), ("two", "a 2"))))
    assert told == [("one", "a 1"), ("two", "a 2")]


def test_metrics_without_a_replica_that_says_nothing_would_be_wrong():
    with pytest.raises(NotReadyError, match="Not all replicas"):
        asyncio.run(_all(Told(TimeoutError())))


class LocalEngine(EngineReplica):
    """An engine whose end is called by a test, as Serve calls it."""

    end = EngineReplica.__del__

    def __del__(self):
        """Do nothing where nobody awaits it."""


@pytest.fixture
def engine():
    """An engine that serves nothing yet; it sets the process's logs up, put back afterwards."""
    root, server = logging.getLogger(), logging.getLogger("uvicorn.error")
    before = root.handlers[:], root.level, server.level
    yield LocalEngine(load_settings({"threads": 1, "device": "cpu"}, {}), ENGINE, lambda: "e1")
    root.handlers[:], root.level, server.level = before


class Fake:
    """A service that answers with what it is asked, once its gate is open."""

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


def asked(engine, known):
    return engine.classify(Call("job-1", known), [Ad("Koch")], Lane.BULK, 2)


def test_a_reply_has_the_answer_its_stages_and_the_model_if_the_ingress_knows_another(
    engine, checkpoint
):
    model = served_model(checkpoint)

    async def main():
        engine.state.service = Fake(model)
        reply = await asked(engine, None)
        assert reply.value == [[Ad("Koch")], Lane.BULK, 2, "job-1"]
        assert (reply.stages, reply.tokens, reply.model) == ({"batch": 0.5}, 7, model)
        assert (await asked(engine, model.identity)).model is None

    asyncio.run(main())


def test_a_refusal_is_a_reply_and_so_is_what_is_unexpected_which_tells_nothing(engine, checkpoint):
    async def main():
        refusal = OverloadedError("busy", 9, "queue_slow")
        engine.state.service = Fake(served_model(checkpoint), refusal)
        assert (await asked(engine, None)).value is refusal
        engine.state.service.error = RuntimeError("inside")
        unexpected = (await asked(engine, None)).value
        assert (unexpected.status, str(unexpected)) == (500, "Something unexpected failed.")

    asyncio.run(main())


def test_a_reply_names_the_model_that_answered_though_another_has_taken_over(engine, checkpoint):
    model = served_model(checkpoint)

    async def main():
        old = engine.state.service = Fake(model)
        old.gate.clear()
        asking = asyncio.create_task(asked(engine, ("tiny", "new")))
        await asyncio.sleep(0)
        engine.state.service = Fake(SimpleNamespace(identity=("tiny", "new")))
        old.gate.set()
        assert (await asking).model == model

    asyncio.run(main())


def test_a_replica_whose_device_is_lost_is_not_healthy(engine):
    async def main():
        await engine.check_health()
        engine._lost = FatalEngineError("the device failed")
        with pytest.raises(FatalEngineError):
            await engine.check_health()

    asyncio.run(main())


def test_a_replica_tells_its_metrics_under_its_name(engine):
    name, text = asyncio.run(engine.exposition())
    assert name == "e1"
    assert "doppelkopf_batch_ads" in text


def test_a_replica_begins_swaps_refuses_and_ends(engine, tiny_folder, other_folder, caplog):
    async def served():
        return (await engine.describe(Call("job-1", None))).model.name

    async def main():
        await engine.reconfigure({"model": str(tiny_folder)})
        assert await served() == tiny_folder.name
        reply = await asked(engine, None)
        assert [list(one.heads) for one in reply.value] == [["job_category", "min_education"]]
        assert (await engine.require_ready(Call("job-1", None))).value is None
        await engine.reconfigure({"model": str(other_folder)})
        assert await served() == other_folder.name
        await engine.reconfigure({"model": str(tiny_folder / "nowhere")})
        assert await served() == other_folder.name
        await engine.end()
        reply = await engine.require_ready(Call("job-1", None))
        assert isinstance(reply.value, NotReadyError)

    logging.getLogger("app.serving.cluster.engine_replica").addHandler(caplog.handler)
    try:
        asyncio.run(main())
    finally:
        logging.getLogger("app.serving.cluster.engine_replica").removeHandler(caplog.handler)
    assert "the model was not replaced: There is no checkpoint folder" in caplog.text


def test_a_replica_that_cannot_begin_says_so(engine, tiny_folder):
    with pytest.raises(StartupError, match="There is no checkpoint folder"):
        asyncio.run(engine.reconfigure({"model": str(tiny_folder / "nowhere")}))
    asyncio.run(engine.end())
