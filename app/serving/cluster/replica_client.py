"""A cluster's engine replicas as an ingress sees them: the service's part, played from afar."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from app.core.errors import NotReadyError, OverloadedError, ServiceError
from app.core.served_model import ServedModel
from app.core.types import Ad, Explanation, ModelName, Prediction
from app.serving.cluster.call_coalescing import CallCoalescer
from app.serving.inference.service import deadline
from app.serving.metrics import Metrics
from app.serving.request_trace import current
from app.serving.scheduling.admission import DRAINING
from app.serving.scheduling.lanes import Lane

log = logging.getLogger(__name__)

TRIES = 3
"""Replicas that a request is sent to, where one after the other dies with it: once may be chance,
and an ad that ends whoever reads it shall not end all."""

PROBE_SECONDS = 2.0
"""So long a probe waits for a replica's word."""

KEPT_MODELS = 8
"""Models whose answers can still be under way."""


@dataclass(frozen=True, slots=True)
class Call:
    """What every request to a replica tells of itself."""

    request_id: str
    known: ModelName | None
    """The model that the ingress knows; see `Reply.model`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a replica answers: `value`, or why there is none."""

    value: Any
    stages: Mapping[str, float]
    """Seconds in each, as `Trace.stages` has them."""
    tokens: int
    model: ServedModel | None
    """What the replica serves, where that is not what the ingress knows."""


class ReplicaClient:
    """Answers ads by asking whichever replica has the least to do; a `Classifier`.

    A request whose replica dies is sent to another one, so its client waits and sees no error.
    """

    def __init__(
        self,
        engines: DeploymentHandle[Any],
        metrics: Metrics,
        patience: float,
        probe_seconds: float = PROBE_SECONDS,
    ) -> None:
        """Take the engine deployment.

        Args:
            engines: its handle.
            metrics: where refusals for want of a replica are counted.
            patience: seconds a request waits for its answer, those for a replica included.
            probe_seconds: likewise a probe.
        """
        self._engines, self._metrics = engines, metrics
        self._patience, self._probe_seconds = patience, probe_seconds
        self._models: dict[ModelName, ServedModel] = {}
        self._last: ServedModel | None = None
        self._draining = asyncio.Event()
        self._together = CallCoalescer(partial(self._replied, "classify_together"))

    async def load(self) -> "ReplicaClient":
        """Wait until a replica is there, and learn what it serves."""
        await self._ask("describe", patience=None)
        return self

    @property
    def model(self) -> ServedModel:
        """What is served, as the last answer had it."""
        assert self._last  # noqa: S101  for types: `load` comes first
        return self._last

    def named(self, model: ModelName) -> ServedModel:
        """Return the model that gave one of these answers."""
        return self._models[model]

    async def classify(
        self, ads: Sequence[Ad], *, lane: Lane, top_k: int, timeout_seconds: float | None = None
    ) -> list[Prediction]:
        """See `Service.classify`.

        Single ads that come close together go to one replica in one call. There a client that
        leaves, or its deadline, takes its ad out of the queue only if it is alone in its call.
        """
        async with deadline(timeout_seconds):
            found: list[Prediction]
            if lane is Lane.INTERACTIVE and len(ads) == 1:
                current().ads += 1
                found = self._taken(await self._together.ask((self._call(), ads[0], top_k)))
            else:
                found = await self._answered("classify", ads, lane, top_k)
        return found

    async def classify_bulk(self, ads: Sequence[Ad], top_k: Sequence[int]) -> list[Prediction]:
        """See `Service.classify_bulk`."""
        found: list[Prediction] = await self._answered("classify_bulk", ads, top_k, patience=None)
        return found

    async def explain(
        self, _: Any, ad: Ad, *, top_k: int, timeout_seconds: float | None = None
    ) -> tuple[Prediction, Explanation]:
        """See `Explainer.explain`: one replica classifies the ad and all its readings."""
        async with deadline(timeout_seconds):
            answer: tuple[Prediction, Explanation] = await self._answered("explain", [ad], top_k)
        return answer

    async def check_capacity(self) -> None:
        """See `Service.check_capacity`."""
        await self._ask("check_capacity")

    async def require_ready(self) -> None:
        """See `Service.require_ready`; a replica is asked.

        Raises:
            NotReadyError: this ingress ends, or no replica is there.
        """
        if self._draining.is_set():
            raise NotReadyError(DRAINING)
        await self._ask("require_ready", patience=self._probe_seconds)

    async def closed(self) -> None:
        """See `Service.closed`."""
        await self._draining.wait()

    async def drain(self, _: float) -> None:
        """Let streams end; Serve itself has waited for requests by now."""
        self._draining.set()

    async def _answered(self, method: str, ads: Sequence[Ad], *rest: Any, **options: Any) -> Any:
        trace = current()
        trace.ads += len(ads)
        return await self._ask(method, ads, *rest, **options)

    async def _ask(self, method: str, *sent: Any, **options: float | None) -> Any:
        return self._taken(await self._replied(method, self._call(), *sent, **options))

    def _call(self) -> Call:
        return Call(current().request_id, self._last.identity if self._last else None)

    async def _replied(self, method: str, *sent: Any, **options: float | None) -> Any:
        """Return what a replica returned."""
        patience = options.get("patience", self._patience)
        for _ in range(TRIES):
            try:
                async with asyncio.timeout(patience):
                    return await self._sent(method, sent)
            except TimeoutError as error:
                raise NotReadyError("No engine answered in time; try again.") from error
            except BackPressureError as error:
                self._metrics.rejected.labels("queue_full").inc()
                raise OverloadedError(
                    "Too much work waits for an engine; try again in 1 s.", 1, "queue_full"
                ) from error
            except DeploymentUnavailableError as error:
                raise NotReadyError("The engines cannot be started; see their log.") from error
            except RayActorError as error:
                log.warning("an engine died with request %s: %s", current().request_id, error)
        raise NotReadyError(f"{TRIES} engines died with this request; try again.")

    async def _sent(self, method: str, sent: Sequence[Any]) -> Any:
        response = getattr(self._engines, method).remote(*sent)
        try:
            return await response
        except asyncio.CancelledError:
            response.cancel()
            raise

    def _taken(self, reply: Reply) -> Any:
        if reply.model:
            # Once: while one is rolled out, replicas of both answer in turns.
            if not self._models.pop(reply.model.identity, None):
                log.info("engines serve %s", reply.model)
            self._last = self._models[reply.model.identity] = reply.model
            if len(self._models) > KEPT_MODELS:
                del self._models[next(iter(self._models))]
        current().merge(reply.stages, reply.tokens)
        if isinstance(reply.value, ServiceError):
            raise reply.value
        return reply.value


def replica_name() -> str:
    """Return the name of the replica that this process is."""
    return str(serve.get_replica_context().replica_tag)
