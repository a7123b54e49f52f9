"""The Ray Serve application for several machines: two deployments, ingress and engine.

`serve run deploy/ray/cpu.yaml` starts `application`. Ray places the replicas, balances the load,
replaces replicas that die and adds replicas under load.
"""

from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray import serve

from app.core.errors import SettingsError
from app.serving.cluster.engine_replica import EngineReplica
from app.serving.cluster.ingress import Ingress
from app.serving.inference.loading import ENGINE
from app.serving.settings import Settings, load_settings

INGRESS_DEPLOYMENT, ENGINE_DEPLOYMENT = "Ingress", "Engine"
"""The deployments' names, by which operators' configuration files refer to them."""


def application(args: dict[str, Any]) -> serve.Application:
    """Return the application for Serve; an operator's config file overrides each deployment.

    Args:
        args: see `settings_and_engine`.

    Raises:
        SettingsError: see `settings_and_engine`.
    """
    settings, engine = settings_and_engine(args)
    cluster: Mapping[str, float] = _untyped(ray.cluster_resources)
    return deployments(settings, engine, gpu=bool(cluster.get("GPU")))


def settings_and_engine(args: Mapping[str, Any]) -> tuple[Settings, str]:
    """Return the settings and the engine class as "module:name".

    Args:
        args: settings by name, as `{"max_queue_seconds": 2}`, and the engine class as `engine`.
            All other settings come from the environment of this process.

    Raises:
        SettingsError: a setting is invalid or has no meaning in a cluster.
    """
    given = dict(args)
    engine = str(given.pop("engine", ENGINE))
    settings = load_settings(given)
    if settings.workers > 1:
        raise SettingsError(
            "DOPPELKOPF_WORKERS: not for a cluster; set num_replicas of the deployment "
            f"{INGRESS_DEPLOYMENT}."
        )
    if settings.admin_keys:
        raise SettingsError(
            "DOPPELKOPF_ADMIN_KEYS: not for a cluster; to swap the model, set user_config of the "
            f"deployment {ENGINE_DEPLOYMENT}."
        )
    return settings, engine


def deployments(settings: Settings, engine: str, *, gpu: bool) -> serve.Application:
    """Return the ingress bound to the engine; each engine replica has a GPU or one CPU core."""
    shared: dict[str, Any] = {
        "health_check_period_s": 2,
        "health_check_timeout_s": 10,
        "graceful_shutdown_timeout_s": settings.grace_seconds + 5,
        "graceful_shutdown_wait_loop_s": 0.5,
        # Admission control has a limit of its own, and sends refused clients the time to retry.
        "max_ongoing_requests": settings.max_queued_ads,
        # The application writes its own access lines, which have the stages of a request.
        "logging_config": {"enable_access_log": False},
    }
    engines = _deployment(
        EngineReplica,
        name=ENGINE_DEPLOYMENT,
        user_config={"model": str(settings.model)},
        ray_actor_options={"num_gpus": 1} if gpu else {"num_cpus": 1},
        max_queued_requests=settings.max_queued_ads,
        **shared,
    )
    ingress = _deployment(
        Ingress, name=INGRESS_DEPLOYMENT, ray_actor_options={"num_cpus": 0.5}, **shared
    )
    # The checkpoint comes by `user_config` alone: other arguments would restart the replicas.
    fixed = settings.model_copy(update={"model": Settings.model_fields["model"].default})
    return ingress.bind(fixed, engines.bind(fixed, engine))


def _deployment(kind: type, **options: Any) -> serve.Deployment:
    made: serve.Deployment = _untyped(serve.deployment, kind)
    return made.options(**options)


def _untyped(function: Callable[..., Any], *given: Any) -> Any:
    """Call a function of Ray that has no types, or types that do not allow this call."""
    return function(*given)
