"""Serve's proxies, which take a cluster's requests: connections and errors as on one machine.

Each node's environment names `middlewares`, which a proxy calls before it listens:

    RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=app.cluster_proxy:middlewares
"""

import uuid
from typing import Any

import uvicorn.config
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.connections import Connection
from app.errors import NotReadyError, OverloadedError, ServiceError
from app.middleware import REQUEST_ID, SERVER_TIMING, WELL_FORMED
from app.problems import MEDIA_TYPE, problem_of
from app.settings import load_settings

SERVES_OWN = "/-/"
"""How Serve's own addresses begin."""

LOST = "The replica that read the request was lost; send it again."
NOT_THERE = "The service is not there yet; try again."


def middlewares() -> list[Middleware]:
    """Return what stands before the proxy's own application."""
    # What uvicorn takes where nobody says; Serve does not, and has no option for it.
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:connection"
    return [Middleware(Plain)]


def connection(config: uvicorn.Config, **given: Any) -> Connection:
    """Make a connection as the server of one machine does."""
    config.ws_protocol_class = None
    config.encoded_headers = [one for one in config.encoded_headers if one[0] != b"server"]
    return Connection(config=config, client_seconds=load_settings().client_seconds, **given)


class Plain:
    """Lets clients see the application's answers, and the proxy's own as problem documents."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["path"].startswith(SERVES_OWN):
            await self._app(scope, receive, send)
            return
        answer: JSONResponse | None = _problem(scope, NotReadyError(LOST))
        """Instead of none, or of the proxy's own."""

        async def send_plain(message: Message) -> None:
            nonlocal answer
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                answer = None if _is_ours(headers) else _problem(scope, _error(message, headers))
                # The proxy adds a second one.
                headers[REQUEST_ID] = headers.get(REQUEST_ID, "")
            if not answer:
                await send(message)

        await self._app(scope, receive, send_plain)
        if answer:
            await answer(scope, receive, send)


def _is_ours(headers: Headers) -> bool:
    return SERVER_TIMING in headers or headers.get("content-type") == MEDIA_TYPE


def _error(message: Message, headers: Headers) -> ServiceError:
    if message["status"] == OverloadedError.status:
        seconds = max(1, int(headers.get("retry-after", 1)))
        return OverloadedError(f"Too many requests wait; try again in {seconds} s.", seconds, "")
    return NotReadyError(NOT_THERE)


def _problem(scope: Scope, error: ServiceError) -> JSONResponse:
    identity = Headers(scope=scope).get(REQUEST_ID, "")
    identity = identity if WELL_FORMED.fullmatch(identity) else uuid.uuid4().hex
    return JSONResponse(
        problem_of(error, identity),
        error.status,
        {**error.headers, REQUEST_ID: identity},
        media_type=MEDIA_TYPE,
    )
