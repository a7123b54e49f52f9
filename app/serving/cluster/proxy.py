"""Serve's proxies, which take a cluster's requests: connections and errors as on one machine.

Each node's environment names `middlewares`, which a proxy calls before it listens:

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

SERVES_OWN = "/-/"
"""How Serve's own addresses begin."""

LOST = "The replica that read the request was lost; send it again."
NOT_THERE = "The service is not there yet; try again."


def middlewares() -> list[Middleware]:
    """Return what stands before the proxy's own application."""
    # What uvicorn takes where nobody says; Serve does not, and has no option for it.
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:connection"
    return [Middleware(Plain, max_ahead=2 * _settings().max_body_bytes)]


def connection(config: uvicorn.Config, **given: Any) -> HttpConnection:
    """Make a connection as the server of one machine does."""
    config.ws_protocol_class = None
    config.encoded_headers = [one for one in config.encoded_headers if one[0] != b"server"]
    return HttpConnection(config=config, client_seconds=_settings().client_seconds, **given)


@cache
def _settings() -> Settings:
    """Read the environment once, not for each connection."""
    return load_settings()


class UploadWindow:
    """How far a stream's lines are ahead of their answers.

    Serve reads whatever comes, and keeps what the application has not asked for yet; so a client
    that sends faster than it is answered, or reads no answers, would fill its memory.
    """

    def __init__(self, max_bytes: int) -> None:
        """Let so many bytes be ahead, and what a client sends at once."""
        self._max_bytes = max_bytes
        self._chunks: deque[tuple[int, int]] = deque()
        """Of each chunk without an answer: lines up to its end, and its bytes."""
        self._bytes = self._lines = self._answers = 0
        self._near = asyncio.Event()
        self._near.set()

    def sent(self, body: bytes) -> None:
        """Count what came of the request."""
        self._lines += body.count(b"\n")
        self._chunks.append((self._lines, len(body)))
        self._count(len(body))

    def answered(self, body: bytes) -> None:
        """Count what the client took of the answer."""
        self._answers += body.count(b"\n")
        while self._chunks and self._chunks[0][0] <= self._answers:
            self._count(-self._chunks.popleft()[1])

    async def near(self) -> None:
        """Wait until more may come."""
        await self._near.wait()

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._bytes <= self._max_bytes:
            self._near.set()
        else:
            self._near.clear()


class Plain:
    """Lets clients see the application's answers, and the proxy's own as problem documents."""

    def __init__(self, app: ASGIApp, max_ahead: int) -> None:
        """Take the proxy's application, and the bytes that a request may be ahead of its answer."""
        self._app, self._max_ahead = app, max_ahead

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["path"].startswith(SERVES_OWN):
            await self._app(scope, receive, send)
            return
        answer: JSONResponse | None = _problem(scope, NotReadyError(LOST))
        """Instead of none, or of the proxy's own."""
        ahead = UploadWindow(self._max_ahead)

        async def receive_near() -> Message:
            await ahead.near()
            message = await receive()
            ahead.sent(message.get("body", b""))
            return message

        async def send_plain(message: Message) -> None:
            nonlocal answer
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                answer = None if _is_ours(headers) else _problem(scope, _error(message, headers))
                # The proxy adds a second one.
                headers[REQUEST_ID] = headers.get(REQUEST_ID, "")
            if not answer:
                await send(message)
                ahead.answered(message.get("body", b""))

        await self._app(scope, receive_near, send_plain)
        if answer:
            await answer(scope, receive, send)


def _is_ours(headers: Headers) -> bool:
    return SERVER_TIMING in headers or headers.get("content-type") == PROBLEM_MEDIA_TYPE


def _error(message: Message, headers: Headers) -> ServiceError:
    if message["status"] == OverloadedError.status:
        seconds = max(1, int(headers.get("retry-after", 1)))
        return OverloadedError(f"Too many requests wait; try again in {seconds} s.", seconds, "")
    return NotReadyError(NOT_THERE)


def _problem(scope: Scope, error: ServiceError) -> JSONResponse:
    identity = given_or_new_id(scope)
    return JSONResponse(
        problem_of(error, identity),
        error.status,
        {**error.headers, REQUEST_ID: identity},
        media_type=PROBLEM_MEDIA_TYPE,
    )
