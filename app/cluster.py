"""More than one machine: the same application and engine as deployments of Ray Serve.

`serve run deploy/ray/cpu.yaml` starts `application`. Ray places the replicas, balances the load,
replaces what dies and adds what is missing.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from app.api import create_app
from app.errors import (
    CheckpointRefusedError,
    FatalEngineError,
    NotReadyError,
    ServiceError,
    SettingsError,
)
from app.explaining import Explainer
from app.exposition import OF_INGRESS, Exposition
from app.lanes import BULK_SHARE, Lane
from app.loading import ENGINE
from app.logs import configure_logs
from app.memory import give_back_regularly
from app.metrics import Metrics
from app.records import Ad
from app.replicas import Call, Replicas, Reply
from app.service import Service
from app.settings import Settings, load_settings
from app.swapping import Swapper, begin
from app.trace import Trace, follow

log = logging.getLogger(__name__)

LAST_WORDS_SECONDS = 0.5
"""So long a replica whose device is lost lives, for the answers that say so."""

SCRAPE_SECONDS = 5.0


class Engine:
    """One device: checkpoint, packed engine and micro-batcher.

    `user_config` names the checkpoint: `{"model": FOLDER}`. Where it changes, each replica loads
    the new one beside the old one, and swaps.
    """

    def __init__(self, settings: Settings, engine: str) -> None:
        """Take the settings, and the name of what computes."""
        configure_logs(settings.log_format, f"engine {_replica()}")
        if not settings.threads:
            # What Ray gives this replica of its machine; on a GPU's, cores pack and tokenize.
            given: dict[str, float] = _untyped(ray.get_runtime_context().get_assigned_resources)
            cores = given.get("CPU", 1)
            settings = settings.model_copy(update={"threads": max(1, int(cores))})
        self._settings, self._engine = settings, engine
        self._metrics = Metrics()
        self._explainer = Explainer(settings, self._metrics)
        self.state: Any = SimpleNamespace(service=None)
        self._swapper: Swapper | None = None
        self._lost: FatalEngineError | None = None

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Serve the checkpoint of the deployment's configuration.

        One that cannot be served does not end a replica that serves another already.

        Raises:
            StartupError: this replica cannot begin.
        """
        model, start = Path(config["model"]), time.perf_counter()
        if self._swapper:
            try:
                await self._swapper.take(model)
            except CheckpointRefusedError as error:
                log.error("the model was not replaced: %s", error)
            return
        settings = self._settings.model_copy(update={"model": model})
        self.state.service, self._swapper = await begin(
            self.state, settings, self._metrics, self._die, self._engine
        )
        self._trimming = asyncio.create_task(give_back_regularly())
        log.info("ready after %.1f s: %s", time.perf_counter() - start, self._service.model)

    async def describe(self, call: Call) -> Reply:
        """Tell what is served."""
        return await self._reply(call, asyncio.sleep(0))

    async def require_ready(self, call: Call) -> Reply:
        """See `Service.require_ready`."""
        return await self._reply(call, self._service.require_ready())

    async def require_room(self, call: Call) -> Reply:
        """See `Service.require_room`."""
        return await self._reply(call, self._service.require_room())

    async def classify(self, call: Call, ads: list[Ad], lane: Lane, top_k: int) -> Reply:
        """See `Service.classify`."""
        return await self._reply(call, self._service.classify(ads, lane=lane, top_k=top_k))

    async def classify_when_there_is_room(
        self, call: Call, ads: list[Ad], top_k: list[int]
    ) -> Reply:
        """See `Service.classify_when_there_is_room`."""
        return await self._reply(call, self._service.classify_when_there_is_room(ads, top_k))

    async def explain(self, call: Call, ads: list[Ad], top_k: int) -> Reply:
        """See `Explainer.explain`; of one ad."""
        return await self._reply(call, self._explainer.explain(self._service, ads[0], top_k=top_k))

    async def exposition(self) -> tuple[str, str]:
        """Return this replica's name and its metrics in Prometheus' format."""
        return _replica(), self._metrics.exposition().decode()

    async def check_health(self) -> None:
        """Let Serve replace a replica whose device is lost."""
        if self._lost:
            raise self._lost

    async def __del__(self) -> None:
        """Finish what was admitted: Serve has waited for it already."""
        if self.state.service:
            await self.state.service.drain(self._settings.grace_seconds)
        if self._swapper:
            await self._swapper.drain()

    @property
    def _service(self) -> Service:
        service: Service = self.state.service
        return service

    async def _reply(self, call: Call, work: Awaitable[Any]) -> Reply:
        trace = Trace(call.request_id)
        follow(trace)
        value: Any
        try:
            value = await work
        except ServiceError as error:
            value = error
        served = self._service.model
        told = None if served.identity == call.known else served
        return Reply(value, trace.stages(), trace.tokens, told)

    def _die(self, error: FatalEngineError) -> None:
        self._lost = error
        asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, os._exit, 1)


@serve.ingress()
class Ingress:
    """The application with all its routes, before the engines."""

    def __init__(self, settings: Settings, engines: DeploymentHandle[Any]) -> None:
        """Take the settings, and the engine deployment's handle."""
        configure_logs(settings.log_format, f"ingress {_replica()}")
        self._settings, self._engines = settings, engines
        self._metrics = Metrics()
        # As long as an admitted ad of a bulk request may wait, and a batch may take.
        patience = settings.max_queue_seconds / BULK_SHARE + settings.hang_seconds
        self._replicas = Replicas(engines, self._metrics, patience)
        self._failures: list[Exception] = []
        self._app = create_app(
            settings,
            self._replicas.load,
            self._metrics,
            self._failures.append,
            explain=self._replicas.explain,
            expose=self._expose,
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the application."""
        return self._app

    async def check_health(self) -> None:
        """Count as healthy once the engines' model is known."""
        await self._app.state.loading
        for error in self._failures:
            raise error

    async def exposition(self) -> tuple[str, str]:
        """Return this replica's name and its metrics in Prometheus' format."""
        return _replica(), self._metrics.exposition().decode()

    async def _expose(self) -> bytes:
        context = serve.get_replica_context()
        own = serve.get_deployment_handle(context.deployment, context.app_name)
        found = Exposition()
        for handle, only in ((own, OF_INGRESS), (self._engines, ("",))):
            told = await _all(handle)
            for replica, text in told:
                found.add(replica, text, only)
        return found.text()


async def _all(deployment: DeploymentHandle[Any]) -> list[tuple[str, str]]:
    try:
        told = await deployment.broadcast("exposition").results_async(
            timeout_s=SCRAPE_SECONDS, return_exceptions=True
        )
    except Exception as error:
        raise NotReadyError("Not all replicas tell their metrics; try again.") from error
    # One that has just died tells nothing.
    return [one for one in told if not isinstance(one, BaseException)]


def _replica() -> str:
    return str(serve.get_replica_context().replica_tag)


def application(args: dict[str, Any]) -> serve.Application:
    """Return the application for Serve; an operator's config file overrides each deployment.

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
    cluster: Mapping[str, float] = _untyped(ray.cluster_resources)
    engines = _deployment(
        Engine,
        user_config={"model": str(settings.model)},
        ray_actor_options={"num_gpus": 1} if cluster.get("GPU") else {"num_cpus": 1},
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
