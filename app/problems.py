"""Errors as problem documents (RFC 9457), in answers and in the OpenAPI document."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app.errors import InvalidRequestError, ServiceError
from app.middleware import REQUEST_ID, request_id
from app.schemas import Problem
from app.trace import current

MEDIA_TYPE = "application/problem+json"
MAX_DETAIL = 500
"""Characters: a detail may name a field, and a field's name may be as long as the body."""
REFERENCE = {"$ref": "#/components/schemas/Problem"}


def responses(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route for OpenAPI."""
    return {
        error.status: {"description": error.title, "content": {MEDIA_TYPE: {"schema": REFERENCE}}}
        for error in errors
    }


def add_problems(app: FastAPI) -> None:
    """Let every error be answered as a problem document, and describe that document."""
    app.exception_handler(ServiceError)(_service_error)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(Exception)(_unexpected)
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        document["components"]["schemas"].setdefault("Problem", Problem.model_json_schema())
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # the framework's own way to extend it


def _problem(
    request: Request, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    current().reason = current().reason or title.lower().replace(" ", "_")
    if len(detail) > MAX_DETAIL:
        detail = detail[:MAX_DETAIL] + "..."
    document = Problem.of(status, title, detail, request_id(request.scope))
    return JSONResponse(document, status, headers, media_type=MEDIA_TYPE)


async def _service_error(request: Request, error: ServiceError) -> JSONResponse:
    current().reason = error.reason
    return _problem(request, error.status, error.title, str(error), error.headers)


async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    message = f"{first['msg']}."
    if first["loc"][-1] == "explain" and first["type"] in ("extra_forbidden", "literal_error"):
        message = "only POST /classify explains, one ad at a time; leave it out."
    return await _service_error(request, InvalidRequestError(f"{place}: {message}"))


async def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    title = HTTPStatus(error.status_code).phrase
    return _problem(request, error.status_code, title, str(error.detail), error.headers)


async def _unexpected(request: Request, _: Exception) -> JSONResponse:
    # The server logs the traceback; the client learns nothing from it.
    return _problem(
        request,
        ServiceError.status,
        ServiceError.title,
        "Something unexpected failed.",
        # This answer is made outside of `Telemetry`, which gives these to all others.
        {REQUEST_ID: request_id(request.scope), "X-Content-Type-Options": "nosniff"},
    )
