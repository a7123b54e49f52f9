"""An engine replica of a cluster: a whole service without HTTP, called by ingress replicas."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray

from app.core.errors import FatalEngineError, ServiceError
from app.core.types import Ad
from app.serving.cluster.replica_client import CallContext, ReplicaReply, replica_name
from app.serving.inference.explanations import Explainer
from app.serving.inference.hot_swap import Swapper, load_service
from app.serving.inference.service import Service
from app.serving.logs import configure_logs
from app.serving.metrics import Metrics
from app.serving.process import trim_heap_regularly
from app.serving.request_trace import Trace, set_current
from app.serving.scheduling.lanes import Lane
from app.serving.settings import Settings

log = logging.getLogger(__name__)

LOST_SECONDS = 0.5
"""How long a replica whose device is lost keeps running, to send the errors of its requests."""


class EngineReplica:
    """One device with its checkpoint, engine and micro-batcher.

    `user_config` names the checkpoint: `{"model": FOLDER}`. When it changes, each replica loads the
    new one while it serves the old one, then swaps.
    """

    def __init__(
        self, settings: Settings, engine: str, name: Callable[[], str] = replica_name
    ) -> None:
        """Set the replica up; `reconfigure` loads the checkpoint.

        Args:
            settings: the settings of the service.
            engine: the engine class as "module:name".
            name: returns the name of this replica.
        """
        self._name = name
        configure_logs(settings.log_format, f"engine {self._name()}")
        if not settings.threads:
            # The cores that Ray gives this replica; with a GPU, they pack and tokenize.
            given = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]
            cores = given.get("CPU", 1)
            settings = settings.model_copy(update={"threads": max(1, int(cores))})
        self._settings, self._engine = settings, engine
        self._metrics = Metrics()
        self._explainer = Explainer(settings, self._metrics)
        self.state: Any = SimpleNamespace(service=None)
        self._swapper: Swapper | None = None
        self._lost: FatalEngineError | None = None

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Serve the checkpoint of `user_config`; Serve calls it at the start and at each change.

        If a new checkpoint cannot be served, the replica logs why and keeps the old one.

        Raises:
            StartupError: the first checkpoint cannot be served.
        """
        model, started = Path(config["model"]), time.perf_counter()
        if self._swapper:
            try:
                await self._swapper.swap_to_path(model)
            except ServiceError as error:
                log.error("the model was not replaced: %s", error)
            return
        settings = self._settings.model_copy(update={"model": model})
        self.state.service, self._swapper = await load_service(
            self.state, settings, self._metrics, self._on_lost, self._engine
        )
        self._trimming = asyncio.create_task(trim_heap_regularly())
        log.info("ready after %.1f s: %s", time.perf_counter() - started, self._service.model)

    async def describe(self, context: CallContext) -> ReplicaReply:
        """Return no value, but the served model in the reply."""
        return await self._reply(context, asyncio.sleep(0))

    async def require_ready(self, context: CallContext) -> ReplicaReply:
        """See `Service.require_ready`."""
        return await self._reply(context, self._service.require_ready())

    async def check_capacity(self, context: CallContext) -> ReplicaReply:
        """See `Service.check_capacity`."""
        return await self._reply(context, self._service.check_capacity())

    async def classify(
        self, context: CallContext, ads: list[Ad], lane: Lane, top_k: int
    ) -> ReplicaReply:
        """See `Service.classify`."""
        return await self._reply(context, self._service.classify(ads, lane=lane, top_k=top_k))

    async def classify_singles(
        self, requests: list[tuple[CallContext, Ad, int]]
    ) -> list[ReplicaReply]:
        """Classify interactive ads of several requests, each with its own `top_k` and reply."""
        replies = [
            self.classify(context, [ad], Lane.INTERACTIVE, top_k) for context, ad, top_k in requests
        ]
        return await asyncio.gather(*replies)

    async def classify_bulk(
        self, context: CallContext, ads: list[Ad], top_k: list[int]
    ) -> ReplicaReply:
        """See `Service.classify_bulk`."""
        return await self._reply(context, self._service.classify_bulk(ads, top_k))

    async def explain(self, context: CallContext, ads: list[Ad], top_k: int) -> ReplicaReply:
        """See `Explainer.explain`; `ads` has one ad."""
        work = self._explainer.explain(self._service, ads[0], top_k=top_k)
        return await self._reply(context, work)

    async def exposition(self) -> tuple[str, str]:
        """Return this replica's name and its metrics in Prometheus' text format."""
        return self._name(), self._metrics.exposition().decode()

    async def check_health(self) -> None:
        """Raise if the device is lost, so that Serve replaces this replica."""
        if self._lost:
            raise self._lost

    async def __del__(self) -> None:
        """Finish what was admitted; Serve awaits it once no call is left."""
        if self.state.service:
            await self.state.service.drain(self._settings.grace_seconds)
        if self._swapper:
            await self._swapper.drain()

    @property
    def _service(self) -> Service:
        service: Service = self.state.service
        return service

    async def _reply(self, context: CallContext, work: Awaitable[Any]) -> ReplicaReply:
        trace = Trace(context.request_id)
        set_current(trace)
        # Read before the work: a swap may replace the service in the meantime.
        served = self._service.model
        value: Any
        try:
            value = await work
        except ServiceError as error:
            value = error
        except Exception:
            # Returned and not raised, so that it fails no other request of a shared call.
            log.exception("request %s failed", context.request_id)
            value = ServiceError("Something unexpected failed.")
        model = None if served.identity == context.known_model else served
        return ReplicaReply(value, trace.stages(), trace.tokens, model)

    def _on_lost(self, error: FatalEngineError) -> None:
        self._lost = error
        asyncio.get_running_loop().call_later(LOST_SECONDS, os._exit, 1)
