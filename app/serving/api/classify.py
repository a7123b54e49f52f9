"""`POST /classify` and `POST /classify/batch`."""

from collections.abc import Sequence

from fastapi import APIRouter, Request
from pydantic import Field

from app.core.errors import (
    BodyTooLargeError,
    DeadlineExceededError,
    EngineError,
    InvalidRequestError,
    MalformedBodyError,
    MediaTypeError,
    NotReadyError,
    OverloadedError,
    SlowBodyError,
    UnauthorizedError,
)
from app.core.types import Ad, Prediction
from app.schemas.classify import AdIn, BatchResponse, ClassifyRequest, ClassifyResponse
from app.schemas.classify import BatchRequest as UnlimitedBatchRequest
from app.serving.api.dependencies import WITHOUT_QUERY, ReadyService, TimeoutHeader
from app.serving.api.disconnect import unless_disconnected
from app.serving.api.guarded_route import guarded_router
from app.serving.api.problems import error_responses
from app.serving.api.state import state_of
from app.serving.api.telemetry import TIMED_ANSWER
from app.serving.inference.service import Classifier
from app.serving.scheduling.lanes import Lane

CLASSIFY_RESPONSES = {200: TIMED_ANSWER} | error_responses(
    MalformedBodyError,
    UnauthorizedError,
    SlowBodyError,
    BodyTooLargeError,
    MediaTypeError,
    InvalidRequestError,
    OverloadedError,
    EngineError,
    NotReadyError,
    DeadlineExceededError,
)


async def predict(
    request: Request,
    service: Classifier,
    ads: Sequence[Ad],
    lane: Lane,
    top_k: int,
    timeout_ms: int | None,
) -> list[Prediction]:
    """Classify ads for a waiting client, and drop the work if the client disconnects.

    Raises:
        ClientLeftError: the client disconnected before the answer was ready.
        ServiceError: what `Service.classify` raises.
    """
    work = service.classify(ads, lane=lane, top_k=top_k, timeout_seconds=_seconds(timeout_ms))
    return await unless_disconnected(request, work)


def classify_routes(max_batch_ads: int) -> APIRouter:
    """Return both routes; the schema of a batch's body contains the maximum number of ads."""
    router = guarded_router()

    @router.post(
        "/classify", tags=["classify"], responses=CLASSIFY_RESPONSES, dependencies=[WITHOUT_QUERY]
    )
    async def classify(
        request: Request,
        body: ClassifyRequest,
        service: ReadyService,
        timeout_ms: TimeoutHeader = None,
    ) -> ClassifyResponse:
        """Classify one ad; goes before the ads of batches. `explain` tells why."""
        if body.explain:
            return await _explained(request, service, body, timeout_ms)
        (answer,) = await predict(
            request, service, [body.ad()], Lane.INTERACTIVE, body.top_k, timeout_ms
        )
        return ClassifyResponse.of(body, answer)

    class BatchRequest(UnlimitedBatchRequest):
        """Body of `POST /classify/batch`."""

        ads: list[AdIn] = Field(min_length=1, max_length=max_batch_ads, description="the ads")

    @router.post(
        "/classify/batch",
        tags=["classify"],
        responses=CLASSIFY_RESPONSES,
        dependencies=[WITHOUT_QUERY],
    )
    async def classify_batch(
        request: Request,
        body: BatchRequest,
        service: ReadyService,
        timeout_ms: TimeoutHeader = None,
    ) -> BatchResponse:
        """Classify several ads; the answers come in their order, all or none."""
        ads = [one.ad() for one in body.ads]
        answers = await predict(request, service, ads, Lane.BULK, body.top_k, timeout_ms)
        return BatchResponse(results=list(map(ClassifyResponse.of, body.ads, answers)))

    return router


async def _explained(
    request: Request, service: Classifier, body: ClassifyRequest, timeout_ms: int | None
) -> ClassifyResponse:
    work = state_of(request.app).explain(
        service, body.ad(), top_k=body.top_k, timeout_seconds=_seconds(timeout_ms)
    )
    answer, explanation = await unless_disconnected(request, work)
    return ClassifyResponse.of(body, answer, explanation)


def _seconds(timeout_ms: int | None) -> float | None:
    return None if timeout_ms is None else timeout_ms / 1000
