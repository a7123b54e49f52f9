"""One client's HTTP/1.1 connection, with limits on a request's head and on the client's time."""

import asyncio
import json
import uuid
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.core.errors import HeadTooLargeError, MalformedRequestError, ServiceError
from app.schemas.problem import Problem
from app.serving.api.problems import PROBLEM_MEDIA_TYPE
from app.serving.api.telemetry import REQUEST_ID

MAX_HEAD_BYTES = 32 * 2**10
"""Limit of the request line and headers; browsers and proxies send less than half of it."""

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection stays open: longer than clients and load balancers keep theirs, so
that they close first and none sends a request into a connection that is just being closed."""

CLOSING_SECONDS = 3
"""How long a connection may take to close when the server ends; then it is aborted."""


class HeadLimitProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 parser with a limit on the size of a request's head.

    A head above `MAX_HEAD_BYTES`, or bytes that are not HTTP, never become a request; the client
    gets a problem document and the connection is closed.
    """

    _in_head = False
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; refuse a head that grows too large without being complete."""
        was_in_head = self._in_head
        super().data_received(data)
        # The parser reports a header only once it is complete, so an endless one is counted here.
        if was_in_head and self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response("")

    def on_message_begin(self) -> None:
        """Start counting the bytes of a request's head."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count a part of the request's URL."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a complete header."""
        self._count_head(len(name) + len(value) + len(": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Stop counting: what follows is the body, which the application limits."""
        self._in_head = False
        super().on_headers_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """Do not log that an upgrade is unsupported: such requests are answered over HTTP/1.1."""

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            # The parser turns this into an error of its own and calls `send_400_response`.
            raise ValueError("the head is too large")

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn passes its own sentence
        """Answer with 431 if the head is too large, else with 400, and close the connection."""
        error: ServiceError = MalformedRequestError("This is not HTTP/1.1; check the client.")
        if self._head_bytes > MAX_HEAD_BYTES:
            error = HeadTooLargeError(
                f"Address and headers are larger than {MAX_HEAD_BYTES} bytes; send fewer."
            )
        request_id = uuid.uuid4().hex
        document = Problem.of(error.status, error.title, str(error), request_id)
        content = json.dumps(document, separators=(",", ":")).encode()
        head = {
            "content-type": PROBLEM_MEDIA_TYPE,
            "content-length": len(content),
            REQUEST_ID.lower(): request_id,
            "connection": "close",
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        self.transport.write(STATUS_LINE[error.status] + lines.encode() + b"\r\n" + content)
        self.transport.close()


class HttpConnection(HeadLimitProtocol):
    """A server connection that is aborted when its client is too slow.

    A client has `client_seconds` to send a request's head, counted from the opening of the
    connection or from the first byte of the head. It has the same time to receive a complete answer
    and to send the rest of its request. While the application reads a body, `BodyDeadline` limits
    the time instead.
    """

    def __init__(self, *args: Any, client_seconds: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._client_seconds = client_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._in_message = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time for the first head."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer of a connection that is closed."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Start the time for the next head at the first bytes after an answer."""
        if self._timer is None and not self._in_message:
            self._start_timer()
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Restart the time at the first byte of a head."""
        self._start_timer()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop the timer: the application limits the time of the body."""
        self._stop_timer()
        self._in_message = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Record that the request has been received completely."""
        self._in_message = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the time for the client to take the answer and to send the rest of its request."""
        if not self.pipeline and (self._in_message or self._has_unsent_bytes()):
            self._start_timer()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Start the timer while the client takes the answer more slowly than it is written."""
        self._start_timer()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Stop the timer, unless the answer is complete: `on_response_complete` has set it then."""
        if not self.cycle.response_complete:
            self._stop_timer()
        super().resume_writing()

    def shutdown(self) -> None:
        """Close the connection after the current answer; abort it after `CLOSING_SECONDS`."""
        super().shutdown()
        self.loop.call_later(CLOSING_SECONDS, self.transport.abort)

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self._client_seconds, self._on_timeout)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _has_unsent_bytes(self) -> bool:
        return self.transport.get_write_buffer_size() > 0

    def _on_timeout(self) -> None:
        self._timer = None
        if self.timeout_keep_alive_task and not self._has_unsent_bytes() and not self._in_message:
            return  # the connection is idle, which uvicorn's keep-alive timeout limits
        # Not close(), which would wait for the client to take what is written.
        self.transport.abort()
