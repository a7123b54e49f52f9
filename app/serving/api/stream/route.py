"""The route `POST /classify/stream`."""

import re
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from app.core.errors import (
    InvalidRequestError,
    MediaTypeError,
    NotReadyError,
    OverloadedError,
    UnauthorizedError,
)
from app.schemas.ndjson import NDJSON, LineReader
from app.serving.api.dependencies import TIMEOUT, WITHOUT_QUERY, ReadyService
from app.serving.api.guarded_route import guarded_router
from app.serving.api.json_body import require_media_type
from app.serving.api.problems import error_responses
from app.serving.api.state import state_of
from app.serving.api.stream.line_answers import LineAnswerer
from app.serving.api.stream.response import StreamResponse, StreamWindow
from app.serving.api.telemetry import TIMED_ANSWER
from app.serving.request_trace import current

NDJSON_NAMES = re.compile(r"application/(?:(?:x-)?ndjson|(?:x-)?jsonl|(?:x-)?jsonlines)")
STREAM_ANSWER: dict[str, Any] = {
    "description": "a line for each line that was sent, in order",
    "headers": TIMED_ANSWER["headers"],
    "content": {NDJSON: {"schema": {"$ref": "#/components/schemas/StreamResult"}}},
}
STREAM_RESPONSES = {200: STREAM_ANSWER} | error_responses(
    UnauthorizedError, MediaTypeError, InvalidRequestError, OverloadedError, NotReadyError
)
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


def require_ndjson(request: Request) -> None:
    """Return if the headers announce lines of JSON; see `require_media_type`."""
    require_media_type(request, NDJSON_NAMES, f"Send lines of JSON, with 'Content-Type: {NDJSON}'.")


def without_timeout(request: Request) -> None:
    """Refuse the header of a deadline: a stream has none.

    Raises:
        InvalidRequestError: the request has this header.
    """
    if TIMEOUT in request.headers:
        raise InvalidRequestError(f"header.{TIMEOUT}: a stream has no deadline; leave it out.")


stream_routes = guarded_router()


@stream_routes.post(
    "/classify/stream",
    tags=["classify"],
    response_class=Response,
    responses=STREAM_RESPONSES,
    dependencies=[Depends(require_ndjson), WITHOUT_QUERY, Depends(without_timeout)],
    openapi_extra={"requestBody": STREAM_BODY},
)
async def classify_stream(
    request: Request,
    service: ReadyService,
    first_line: FirstLine = 1,
) -> StreamResponse:
    """Classify any number of ads, one a line as `/classify` takes it; answers come in order.

    Each line is answered by a line with its number: what `/classify` answers, or an error, and
    the stream goes on. A line has the size that a body may have, the stream any. Lines wait
    for single ads and for room; as many as a batch may have are inside at once, and then
    nothing more is read until their answers are taken. So whoever sends all before reading an
    answer sends no more than that. An error with `resume` ends a stream early.
    """
    await service.check_capacity()
    state = state_of(request.app)
    limits = state.settings
    # The answerer gets the service anew for each part: a hot swap may replace it during a stream.
    answerer = LineAnswerer(state.loaded_service, state.metrics, current(), limits.max_body_bytes)
    return StreamResponse(
        LineReader(first_line or 1, limits.max_body_bytes),
        answerer,
        StreamWindow(limits.max_batch_ads, limits.max_body_bytes),
        limits.client_seconds,
        service.closed,
    )
