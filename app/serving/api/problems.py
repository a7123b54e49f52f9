"""Errors as problem documents (RFC 9457), in answers and in the OpenAPI document."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from app.core.errors import InvalidRequestError, OverloadedError, ServiceError, UnauthorizedError
from app.schemas.problem import Problem
from app.schemas.stream import StreamResult
from app.serving.api.telemetry import REQUEST_ID, request_id
from app.serving.request_trace import current

PROBLEM_MEDIA_TYPE = "application/problem+json"
MAX_DETAIL = 500
"""Characters. A detail may quote a field's name, which a client can make as long as a body."""
UNEXPLAINED = "only POST /classify explains, one ad at a time; leave it out."
_SCHEMA = {"$ref": "#/components/schemas/Problem"}
_EXAMPLE_ID = "5f0c4e3b9a7d4f21"
_ERROR_HEADERS: dict[type[ServiceError], dict[str, Any]] = {
    OverloadedError: {
        "Retry-After": {
            "description": "seconds to wait, this client's own",
            "required": True,
            "schema": {"type": "integer", "minimum": 1, "examples": [2]},
        }
    },
    UnauthorizedError: {
        "WWW-Authenticate": {
            "description": "how to send a key",
            "required": True,
            "schema": {"type": "string", "examples": ["Bearer"]},
        }
    },
}
"""The headers of errors that clients act on, as the OpenAPI document describes them."""


def error_responses(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that may fail with these errors, for OpenAPI."""
    return {error.status: _described(error) for error in errors}


def _described(error: type[ServiceError]) -> dict[str, Any]:
    example = Problem.of(error.status, error.title, error.description, _EXAMPLE_ID)
    described: dict[str, Any] = {
        "description": f"{error.title}. {error.description}",
        "content": {
            PROBLEM_MEDIA_TYPE: {"schema": _SCHEMA, "examples": {"problem": {"value": example}}}
        },
    }
    if headers := _ERROR_HEADERS.get(error):
        described["headers"] = headers
    return described


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every error with a problem document, and complete the OpenAPI document.

    FastAPI leaves out the schemas of a stream's lines, since no endpoint's signature names them.
    """
    app.exception_handler(ServiceError)(_service_error)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(Exception)(_unexpected)
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        _, lines = models_json_schema(
            [(StreamResult, "serialization")],
            ref_template="#/components/schemas/{model}",
        )
        for name, schema in lines["$defs"].items():
            document["components"]["schemas"].setdefault(name, schema)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _problem(
    request: Request, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    current().reason = current().reason or reason_of(title)
    document = Problem.of(status, title, _cut(detail), request_id(request.scope))
    return JSONResponse(document, status, headers, media_type=PROBLEM_MEDIA_TYPE)


def problem_of(error: ServiceError, request_id: str) -> dict[str, Any]:
    """Return the problem document of an error, for answers that are made without a `Request`."""
    return Problem.of(error.status, error.title, _cut(str(error)), request_id)


def invalid_value(first: Mapping[str, Any], *place: str) -> InvalidRequestError:
    """Return the error that names a value and says what is wrong with it.

    Args:
        first: the first of pydantic's errors.
        place: the path to the validated value, if pydantic's own does not begin with it.
    """
    where = ".".join(map(str, (*place, *first["loc"])))
    message = f"{first['msg']}."
    if "explain" in first["loc"][-1:] and first["type"] in ("extra_forbidden", "literal_error"):
        message = UNEXPLAINED
    return InvalidRequestError(f"{where}: {message}")


def reason_of(title: str) -> str:
    """Return a problem's title as one word for log lines, such as `not_ready`."""
    return title.lower().replace(" ", "_")


def _cut(detail: str) -> str:
    return detail if len(detail) <= MAX_DETAIL else detail[:MAX_DETAIL] + "..."


async def _service_error(request: Request, error: ServiceError) -> JSONResponse:
    current().reason = error.reason
    return _problem(request, error.status, error.title, str(error), error.headers)


async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    return await _service_error(request, invalid_value(error.errors()[0]))


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
        # `Telemetry` adds these headers to all other answers; this one is made outside of it.
        {REQUEST_ID: request_id(request.scope), "X-Content-Type-Options": "nosniff"},
    )
