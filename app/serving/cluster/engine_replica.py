"""An engine replica of a cluster: a whole service without HTTP, asked by ingress replicas."""

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
from app.serving.cluster.replica_client import Call, Reply, replica_name
from app.serving.inference.explanations import Explainer
from app.serving.inference.hot_swap import Swapper, load_service
from app.serving.inference.service import Service
from app.serving.logs import configure_logs
from app.serving.metrics import Metrics
from app.serving.process import give_back_regularly
from app.serving.request_trace import Trace, set_current
from app.serving.scheduling.lanes import Lane
from app.serving.settings import Settings

log = logging.getLogger(__name__)

LAST_WORDS_SECONDS = 0.5
"""So long a replica whose device is lost lives, for the answers that say so."""


class EngineReplica:
    """One device: checkpoint, packed engine and micro-batcher.

    `user_config` names the checkpoint: `{"model": FOLDER}`. Where it changes, each replica loads
    the new one beside the old one, and swaps.
    """

    def __init__(
        self, settings: Settings, engine: str, named: Callable[[], str] | None = None
    ) -> None:
        """Take the settings, the name of what computes, and what names this replica."""
        self._named = named or replica_name
        configure_logs(settings.log_format, f"engine {self._named()}")
        if not settings.threads:
            # What Ray gives this replica of its machine; on a GPU's, cores pack and tokenize.
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
        """Serve the checkpoint of the deployment's configuration.

        One that cannot be served does not end a replica that serves another already.

        Raises:
            StartupError: this replica cannot begin.
        """
        model, start = Path(config["model"]), time.perf_counter()
        if self._swapper:
            try:
                await self._swapper.swap_to_path(model)
            except ServiceError as error:
                log.error("the model was not replaced: %s", error)
            return
        settings = self._settings.model_copy(update={"model": model})
        self.state.service, self._swapper = await load_service(
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

    async def check_capacity(self, call: Call) -> Reply:
        """See `Service.check_capacity`."""
        return await self._reply(call, self._service.check_capacity())

    async def classify(self, call: Call, ads: list[Ad], lane: Lane, top_k: int) -> Reply:
        """See `Service.classify`."""
        return await self._reply(call, self._service.classify(ads, lane=lane, top_k=top_k))

    async def classify_together(self, asked: list[tuple[Call, Ad, int]]) -> list[Reply]:
        """Answer single ads with their `top_k`, each as `classify` does for a person."""
        work = [self.classify(call, [ad], Lane.INTERACTIVE, top_k) for call, ad, top_k in asked]
        return await asyncio.gather(*work)

    async def classify_bulk(self, call: Call, ads: list[Ad], top_k: list[int]) -> Reply:
        """See `Service.classify_bulk`."""
        return await self._reply(call, self._service.classify_bulk(ads, top_k))

    async def explain(self, call: Call, ads: list[Ad], top_k: int) -> Reply:
        """See `Explainer.explain`; of one ad."""
        return await self._reply(call, self._explainer.explain(self._service, ads[0], top_k=top_k))

    async def exposition(self) -> tuple[str, str]:
        """Return this replica's name and its metrics in Prometheus' format."""
        return self._named(), self._metrics.exposition().decode()

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
        set_current(trace)
        # Of the service that was asked: by the end another may have taken over.
        served = self._service.model
        value: Any
        try:
            value = await work
        except ServiceError as error:
            value = error
        except Exception:
            # It fails this request alone, not those that came with it.
            log.exception("request %s failed", call.request_id)
            value = ServiceError("Something unexpected failed.")
        told = None if served.identity == call.known else served
        return Reply(value, trace.stages(), trace.tokens, told)

    def _die(self, error: FatalEngineError) -> None:
        self._lost = error
        asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, os._exit, 1)
