"""More than one machine: the same application and engine as deployments of Ray Serve.

`serve run deploy/ray/cpu.yaml` starts `application`. Ray places the replicas, balances the load,
replaces what dies and adds what is missing.
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


def application(args: dict[str, Any]) -> serve.Application:
    """Return the application for Serve; an operator's config file overrides each deployment.

    Args:
        args: see `configured`.

    Raises:
        SettingsError: likewise.
    """
    settings, engine = configured(args)
    cluster: Mapping[str, float] = _untyped(ray.cluster_resources)
    return deployments(settings, engine, gpu=bool(cluster.get("GPU")))


def configured(args: Mapping[str, Any]) -> tuple[Settings, str]:
    """Return the settings, and the name of what computes.

    Args:
        args: settings by name, as `{"max_queue_seconds": 2}`; all others come from the environment
            of where this is called. `engine` names what computes.

    Raises:
        SettingsError: a setting is not what it has to be, or has no meaning in a cluster.
    """
    given = dict(args)
    engine = str(given.pop("engine", ENGINE))
    settings = load_settings(given)
    if settings.workers > 1:
        raise SettingsError("DOPPELKOPF_WORKERS: in a cluster num_replicas of Ingress rules.")
    if settings.admin_keys:
        raise SettingsError("DOPPELKOPF_ADMIN_KEYS: in a cluster user_config of Engine rules.")
    return settings, engine


def deployments(settings: Settings, engine: str, *, gpu: bool) -> serve.Application:
    """Return both deployments, bound; each engine has a GPU, or a core of a CPU."""
    shared: dict[str, Any] = {
        "health_check_period_s": 2,
        "health_check_timeout_s": 10,
        "graceful_shutdown_timeout_s": settings.grace_seconds + 5,
        "graceful_shutdown_wait_loop_s": 0.5,
        # The house has limits of its own, and says when to come back.
        "max_ongoing_requests": settings.max_queued_ads,
        # Our own lines know the stages.
        "logging_config": {"enable_access_log": False},
    }
    engines = _deployment(
        EngineReplica,
        user_config={"model": str(settings.model)},
        ray_actor_options={"num_gpus": 1} if gpu else {"num_cpus": 1},
        max_queued_requests=settings.max_queued_ads,
        **shared,
    )
    ingress = _deployment(Ingress, ray_actor_options={"num_cpus": 0.5}, **shared)
    # Which checkpoint is served changes without a new replica.
    fixed = settings.model_copy(update={"model": Settings.model_fields["model"].default})
    return ingress.bind(fixed, engines.bind(fixed, engine))


def _deployment(kind: type, **options: Any) -> serve.Deployment:
    made: serve.Deployment = _untyped(serve.deployment, kind)
    return made.options(name=kind.__name__, **options)


def _untyped(function: Callable[..., Any], *given: Any) -> Any:
    """Call what is not typed, or not as it is called here."""
    return function(*given)
