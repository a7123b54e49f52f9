"""Middleware for Ray Serve's HTTP proxies: the connections and errors of a single machine.

The environment of each node names `middlewares`, which a proxy calls before it listens:

    RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=app.serving.cluster.proxy:middlewares
"""

import asyncio
from collections import deque
from functools import cache
from typing import Any

import uvicorn.config
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import NotReadyError, OverloadedError, ServiceError
from app.serving.api.problems import PROBLEM_MEDIA_TYPE, problem_of
from app.serving.api.telemetry import REQUEST_ID, SERVER_TIMING, given_or_new_id
from app.serving.server.http_connection import HttpConnection
from app.serving.settings import Settings, load_settings

SERVE_PATHS = "/-/"
"""Prefix of the paths that Serve answers itself, such as its health check."""

LOST = "The replica that read the request was lost; send it again."
NOT_AVAILABLE = "The service is not available yet; try again."


def middlewares() -> list[Middleware]:
    """Return the middlewares of a proxy, and make it use `HttpConnection`."""
    # uvicorn's default protocol class, which Serve uses and has no option for.
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:connection"
    window_bytes = 2 * _settings().max_body_bytes
    return [Middleware(ProblemDocumentMiddleware, window_bytes=window_bytes)]


def connection(config: uvicorn.Config, **given: Any) -> HttpConnection:
    """Return a connection with the options of `app.serving.server.single_process.http_server`."""
    config.ws_protocol_class = None
    config.encoded_headers = [one for one in config.encoded_headers if one[0] != b"server"]
    return HttpConnection(config=config, client_seconds=_settings().client_seconds, **given)


@cache
def _settings() -> Settings:
    """Return the settings of the environment, read once and not for each connection."""
    return load_settings()


class UploadWindow:
    """Limits how many bytes of a streamed request may be ahead of its answer.

    Serve reads a request as fast as it arrives and buffers what the application has not read yet.
    So a client that sends faster than it is answered, or reads no answers, would fill its memory.
    Each line of the answer acknowledges one line of the request.
    """

    def __init__(self, max_bytes: int) -> None:
        """Set the window's size; the chunk that exceeds it is still read."""
        self._max_bytes = max_bytes
        self._chunks: deque[tuple[int, int]] = deque()
        """For each chunk without an answer: the lines up to its end, and its bytes."""
        self._bytes = self._request_lines = self._answer_lines = 0
        self._open = asyncio.Event()
        self._open.set()

    def received(self, body: bytes) -> None:
        """Count a chunk of the request."""
        self._request_lines += body.count(b"\n")
        self._chunks.append((self._request_lines, len(body)))
        self._count(len(body))

    def answered(self, body: bytes) -> None:
        """Count a chunk of the answer that the client has taken."""
        self._answer_lines += body.count(b"\n")
        while self._chunks and self._chunks[0][0] <= self._answer_lines:
            self._count(-self._chunks.popleft()[1])

    async def wait_until_open(self) -> None:
        """Wait until more of the request may be read."""
        await self._open.wait()

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._bytes <= self._max_bytes:
            self._open.set()
        else:
            self._open.clear()


class ProblemDocumentMiddleware:
    """Passes the application's answers on, and turns the proxy's own into problem documents."""

    def __init__(self, app: ASGIApp, window_bytes: int) -> None:
        """Wrap the proxy's application.

        Args:
            app: the proxy's application.
            window_bytes: see `UploadWindow`.
        """
        self._app, self._window_bytes = app, window_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["path"].startswith(SERVE_PATHS):
            await self._app(scope, receive, send)
            return
        # Sent in place of an answer of the proxy itself, or if there is no answer at all.
        problem: JSONResponse | None = _problem(scope, NotReadyError(LOST))
        window = UploadWindow(self._window_bytes)

        async def receive_in_window() -> Message:
            await window.wait_until_open()
            message = await receive()
            window.received(message.get("body", b""))
            return message

        async def send_or_replace(message: Message) -> None:
            nonlocal problem
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                is_ours = _is_of_application(headers)
                problem = None if is_ours else _problem(scope, _error(message, headers))
                # The proxy has added an id of its own after the application's.
                headers[REQUEST_ID] = headers.get(REQUEST_ID, "")
            if not problem:
                await send(message)
                window.answered(message.get("body", b""))

        await self._app(scope, receive_in_window, send_or_replace)
        if problem:
            await problem(scope, receive, send)


def _is_of_application(headers: Headers) -> bool:
    return SERVER_TIMING in headers or headers.get("content-type") == PROBLEM_MEDIA_TYPE


def _error(message: Message, headers: Headers) -> ServiceError:
    """Return the error that corresponds to an answer of the proxy itself."""
    if message["status"] == OverloadedError.status:
        seconds = max(1, int(headers.get("retry-after", 1)))
        return OverloadedError(f"Too many requests wait; try again in {seconds} s.", seconds, "")
    return NotReadyError(NOT_AVAILABLE)


def _problem(scope: Scope, error: ServiceError) -> JSONResponse:
    request_id = given_or_new_id(scope)
    return JSONResponse(
        problem_of(error, request_id),
        error.status,
        {**error.headers, REQUEST_ID: request_id},
        media_type=PROBLEM_MEDIA_TYPE,
    )
