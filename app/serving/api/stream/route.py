"""The route of streams: any number of ads, a line each, answered while they come."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.params import Depends as Dependency
from fastapi.routing import APIRoute
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from app.errors import (
    InvalidRequestError,
    MediaTypeError,
    NotReadyError,
    OverloadedError,
    UnauthorizedError,
)
from app.metrics import Metrics
from app.schemas.ndjson import NDJSON, LineReader
from app.service import Classifier
from app.serving.api.auth import BEARER
from app.serving.api.problems import responses
from app.serving.api.stream.line_answers import Answering
from app.serving.api.stream.response import StreamResponse, Window, require_ndjson
from app.serving.api.telemetry import TIMED
from app.settings import Settings
from app.trace import current

LINE = {"$ref": "#/components/schemas/StreamResult"}
STREAMED: dict[str, Any] = {
    "description": "a line for each line that was sent, in order",
    "headers": TIMED["headers"],
    "content": {NDJSON: {"schema": LINE}},
}
STREAM_BODY = {
    "required": True,
    "content": {NDJSON: {"schema": {"$ref": "#/components/schemas/ClassifyRequest"}}},
}

FirstLine = Annotated[
    Annotated[int, Field(ge=1, le=2**53)] | SkipJsonSchema[None],
    Header(
        alias="X-First-Line",
        description="number of the first line that is sent, 1 by default: a stream that is resumed "
        "goes on counting",
    ),
]


def without_deadline(request: Request) -> None:
    """Refuse a deadline, which a stream does not have.

    Raises:
        InvalidRequestError: there is one.
    """
    if "X-Request-Timeout-Ms" in request.headers:
        raise InvalidRequestError(
            "header.X-Request-Timeout-Ms: a stream has no deadline; leave it out."
        )


def streams(
    settings: Settings,
    metrics: Metrics,
    guarded: type[APIRoute],
    get_service: Callable[[Request], Awaitable[Classifier]],
    dependencies: Sequence[Dependency],
) -> APIRouter:
    """Return the route.

    Args:
        settings: limits.
        metrics: where lines are counted.
        guarded: asks for a key.
        get_service: gives the service, or refuses as long as it loads.
        dependencies: what else every route asks for.
    """
    router = APIRouter(route_class=guarded, dependencies=[Depends(BEARER)])
    described = {200: STREAMED} | responses(
        UnauthorizedError, MediaTypeError, InvalidRequestError, OverloadedError, NotReadyError
    )

    @router.post(
        "/classify/stream",
        tags=["classify"],
        response_class=Response,
        responses=described,
        dependencies=[Depends(require_ndjson), *dependencies, Depends(without_deadline)],
        openapi_extra={"requestBody": STREAM_BODY},
    )
    async def classify_stream(
        request: Request,
        service: Annotated[Classifier, Depends(get_service)],
        first_line: FirstLine = 1,
    ) -> StreamResponse:
        """Classify any number of ads, one a line as `/classify` takes it; answers come in order.

        Each line is answered by a line with its number: what `/classify` answers, or an error, and
        the stream goes on. A line has the size that a body may have, the stream any. Lines wait
        for single ads and for room; as many as a batch may have are inside at once, and then
        nothing more is read until their answers are taken. So whoever sends all before reading an
        answer sends no more than that. An error with `resume` ends a stream early.
        """
        await service.require_room()
        # A stream may outlast the model that it began with.
        answering = Answering(
            lambda: request.app.state.service, metrics, current(), settings.max_body_bytes
        )
        return StreamResponse(
            LineReader(first_line or 1, settings.max_body_bytes),
            answering,
            Window(settings.max_batch_ads, settings.max_body_bytes),
            settings.client_seconds,
            service.closed,
        )

    return router
