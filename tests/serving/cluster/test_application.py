"""The deployments without a cluster; `tests/acceptance/test_cluster.py` has a real one."""

import pkgutil
import re
import warnings

import pytest
import yaml

from app.core.errors import SettingsError
from app.serving.inference.loading import ENGINE
from app.serving.server.http_connection import KEEP_ALIVE_SECONDS
from app.serving.settings import Settings, load_settings
from tests.support.repository import ROOT

with warnings.catch_warnings():
    # Ray gives warnings of its own libraries at import.
    warnings.simplefilter("ignore")
    from ray.serve.config import AutoscalingConfig
    from ray.serve.schema import ServeDeploySchema

    from app.serving.cluster.application import (
        ENGINE_DEPLOYMENT,
        INGRESS_DEPLOYMENT,
        application,
        deployments,
        settings_and_engine,
    )

FOLDER = ROOT / "deploy" / "ray"
FILES = sorted(FOLDER.glob("*.yaml"))
KEY = "a-key-of-good-length"


def bound(gpu=False, **settings):
    """Return both deployments, the ingress first."""
    ingress = deployments(load_settings(settings, {}), ENGINE, gpu=gpu)._bound_deployment
    (engines,) = (one for one in ingress.init_args if not isinstance(one, Settings))
    return ingress, engines._bound_deployment


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            {"workers": 2},
            "DOPPELKOPF_WORKERS: not for a cluster; set num_replicas of the deployment Ingress.",
        ),
        (
            {"admin_keys": KEY},
            "DOPPELKOPF_ADMIN_KEYS: not for a cluster; to swap the model, set user_config of the ",
        ),
        ({"max_queue_seconds": 0}, "DOPPELKOPF_MAX_QUEUE_SECONDS: "),
        ({"no_such": 1}, "DOPPELKOPF_NO_SUCH: "),
    ],
)
def test_a_setting_without_meaning_in_a_cluster_is_refused(args, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        application(args)


def test_arguments_are_settings_and_the_engine_class():
    settings, engine = settings_and_engine({"engine": "a.b:C", "max_queue_seconds": 2})
    assert (settings.max_queue_seconds, engine) == (2, "a.b:C")
    assert settings_and_engine({})[1] == ENGINE


def test_a_replica_takes_a_gpu_where_the_cluster_has_any():
    assert bound(gpu=True)[1].ray_actor_options["num_gpus"] == 1
    assert bound(gpu=False)[1].ray_actor_options == {"num_cpus": 1}


def test_another_checkpoint_changes_the_user_config_only():
    ingresses, engines = zip(bound(model="here"), bound(model="there"), strict=True)
    assert [one.user_config for one in engines] == [{"model": "here"}, {"model": "there"}]
    assert engines[0].init_args == engines[1].init_args
    assert ingresses[0].init_args[0] == ingresses[1].init_args[0]


def test_replicas_have_the_grace_period_and_limits_of_the_settings():
    for one in bound(grace_seconds=7, max_queued_ads=300):
        assert one._deployment_config.graceful_shutdown_timeout_s > 7
        assert one.max_ongoing_requests == 300


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_configuration_file_names_existing_deployments_and_settings(file):
    text = file.read_text(encoding="utf-8")
    config = ServeDeploySchema.model_validate(yaml.safe_load(text))
    (app,) = config.applications
    assert pkgutil.resolve_name(app.import_path) is application
    settings_and_engine(app.args)
    assert [one.name for one in app.deployments] == [ENGINE_DEPLOYMENT, INGRESS_DEPLOYMENT]
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
