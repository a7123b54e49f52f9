"""A `Classifier` that calls the engine replicas of a cluster, for an ingress replica."""

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
from app.core.types import Ad, Explanation, ModelIdentity, Prediction
from app.serving.cluster.call_coalescing import CallCoalescer
from app.serving.inference.service import deadline
from app.serving.metrics import Metrics
from app.serving.request_trace import current
from app.serving.scheduling.admission import DRAINING
from app.serving.scheduling.lanes import Lane

log = logging.getLogger(__name__)

MAX_TRIES = 3
"""Replicas that a request is sent to, if each dies before it answers. One death may be a
coincidence, but an ad that kills every replica must not reach all of them."""

PROBE_SECONDS = 2.0
"""How long a readiness probe waits for a replica."""

KEPT_MODELS = 8
"""Models that are remembered, because answers of replaced ones may still arrive."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """The data that every call to a replica carries besides its arguments."""

    request_id: str
    known_model: ModelIdentity | None
    """The model that the ingress knows; see `ReplicaReply.model`."""


@dataclass(frozen=True, slots=True)
class ReplicaReply:
    """A replica's reply; `value` is the result or a `ServiceError`."""

    value: Any
    stages: Mapping[str, float]
    """Seconds of each stage, see `Trace.stages`."""
    tokens: int
    model: ServedModel | None
    """The model that answered; None if it is the one that the ingress knows."""


class ReplicaClient:
    """Classifies ads by calls to the engine replica with the least work; a `Classifier`.

    A request whose replica dies is sent to another one: its client waits longer and gets no error.
    """

    def __init__(
        self,
        engines: DeploymentHandle[Any],
        metrics: Metrics,
        timeout_seconds: float | None,
        probe_seconds: float = PROBE_SECONDS,
    ) -> None:
        """Set the client up; `load` waits for the first replica.

        Args:
            engines: the handle of the engine deployment.
            metrics: counts the requests that no replica takes.
            timeout_seconds: how long one call may take, the wait for a replica included; None
                without a limit.
            probe_seconds: the same for a readiness probe.
        """
        self._engines, self._metrics = engines, metrics
        self._timeout_seconds, self._probe_seconds = timeout_seconds, probe_seconds
        self._models: dict[ModelIdentity, ServedModel] = {}
        self._last_model: ServedModel | None = None
        self._draining = asyncio.Event()
        self._single_ads = CallCoalescer(partial(self._call_replica, "classify_singles"))

    async def load(self) -> "ReplicaClient":
        """Wait until a replica is ready, and learn which model it serves."""
        await self._call("describe", timeout_seconds=None)
        return self

    @property
    def model(self) -> ServedModel:
        """The served model, as of the last reply."""
        assert self._last_model  # noqa: S101  for types: `load` comes first
        return self._last_model

    def model_named(self, model: ModelIdentity) -> ServedModel:
        """Return the model that gave one of this client's answers."""
        return self._models[model]

    async def classify(
        self, ads: Sequence[Ad], *, lane: Lane, top_k: int, timeout_seconds: float | None = None
    ) -> list[Prediction]:
        """See `Service.classify`.

        Single interactive ads share calls. When such a client leaves or its deadline passes, the
        replica drops the ad only if all other ads of the call are dropped too.
        """
        async with deadline(timeout_seconds):
            predictions: list[Prediction]
            if lane is Lane.INTERACTIVE and len(ads) == 1:
                current().ads += 1
                reply = await self._single_ads.call((self._context(), ads[0], top_k))
                predictions = self._value(reply)
            else:
                predictions = await self._call_with_ads("classify", ads, lane, top_k)
        return predictions

    async def classify_bulk(self, ads: Sequence[Ad], top_k: Sequence[int]) -> list[Prediction]:
        """See `Service.classify_bulk`."""
        predictions: list[Prediction] = await self._call_with_ads(
            "classify_bulk", ads, top_k, timeout_seconds=None
        )
        return predictions

    async def explain(
        self, _: Any, ad: Ad, *, top_k: int, timeout_seconds: float | None = None
    ) -> tuple[Prediction, Explanation]:
        """See `Explainer.explain`: one replica classifies the ad and all its variants."""
        async with deadline(timeout_seconds):
            answer: tuple[Prediction, Explanation] = await self._call_with_ads(
                "explain", [ad], top_k
            )
        return answer

    async def check_capacity(self) -> None:
        """See `Service.check_capacity`."""
        await self._call("check_capacity")

    async def require_ready(self) -> None:
        """Return if a replica can classify ads.

        Raises:
            NotReadyError: this ingress replica is draining, or no engine replica is ready.
        """
        if self._draining.is_set():
            raise NotReadyError(DRAINING)
        await self._call("require_ready", timeout_seconds=self._probe_seconds)

    async def closed(self) -> None:
        """See `Service.closed`."""
        await self._draining.wait()

    async def drain(self, _: float) -> None:
        """Let streams end; Serve has already waited for the other requests."""
        self._draining.set()

    async def _call_with_ads(
        self, method: str, ads: Sequence[Ad], *args: Any, **options: float | None
    ) -> Any:
        current().ads += len(ads)
        return await self._call(method, ads, *args, **options)

    async def _call(self, method: str, *args: Any, **options: float | None) -> Any:
        return self._value(await self._call_replica(method, self._context(), *args, **options))

    def _context(self) -> CallContext:
        known = self._last_model.identity if self._last_model else None
        return CallContext(current().request_id, known)

    async def _call_replica(self, method: str, *args: Any, **options: float | None) -> Any:
        """Return what a replica's method returns; a dead replica is replaced by another one.

        Args:
            method: of `EngineReplica`.
            args: its arguments.
            options: `timeout_seconds` in place of the client's own.
        """
        timeout_seconds = options.get("timeout_seconds", self._timeout_seconds)
        for _ in range(MAX_TRIES):
            try:
                async with asyncio.timeout(timeout_seconds):
                    return await self._send(method, args)
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
        raise NotReadyError(f"{MAX_TRIES} engines died with this request; try again.")

    async def _send(self, method: str, args: Sequence[Any]) -> Any:
        response = getattr(self._engines, method).remote(*args)
        try:
            return await response
        except asyncio.CancelledError:
            response.cancel()
            raise

    def _value(self, reply: ReplicaReply) -> Any:
        """Return a reply's value or raise its error; record its model, stages and tokens."""
        if reply.model:
            # Logged once a model, though old and new replicas answer alternately during a rollout.
            if not self._models.pop(reply.model.identity, None):
                log.info("engines serve %s", reply.model)
            self._last_model = self._models[reply.model.identity] = reply.model
            if len(self._models) > KEPT_MODELS:
                del self._models[next(iter(self._models))]
        current().merge(reply.stages, reply.tokens)
        if isinstance(reply.value, ServiceError):
            raise reply.value
        return reply.value


def replica_name() -> str:
    """Return the name that Serve gave the replica of this process."""
    return str(serve.get_replica_context().replica_tag)
