"""HTTP/1.1 on one connection: the server's parser, with a limit on a request's head.

What is no HTTP, or has a head without end, never becomes a request; it is answered here.
"""

import json
import uuid

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.core.errors import HeadTooLargeError, MalformedRequestError, ServiceError
from app.schemas.problem import Problem
from app.serving.api.problems import PROBLEM_MEDIA_TYPE
from app.serving.api.telemetry import REQUEST_ID

MAX_HEAD_BYTES = 32 * 2**10
"""Of a request's line and headers; browsers and proxies stay below a half of it."""


class Protocol(HttpToolsProtocol):
    """Refuses heads above the limit, and answers what is no HTTP with a problem document."""

    _in_head = False
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Parse what arrived."""
        unfinished = self._in_head
        super().data_received(data)
        # The parser keeps a header to itself until its end has come; what it keeps counts too.
        if unfinished and self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a whole header."""
        self._count(len(name) + len(value) + len(": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer, while the body still comes."""
        self._in_head = False
        super().on_headers_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: whoever asks for another protocol is answered in this one."""

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            # The parser makes its own error of it and comes back with `send_400_response`.
            raise ValueError("the head is too large")

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  it is the same for all
        """Answer what cannot become a request, and close."""
        error: ServiceError = MalformedRequestError("This is not HTTP/1.1; check the client.")
        if self._head_bytes > MAX_HEAD_BYTES:
            error = HeadTooLargeError(
                f"Address and headers are larger than {MAX_HEAD_BYTES} bytes; send fewer."
            )
        identity = uuid.uuid4().hex
        document = Problem.of(error.status, error.title, str(error), identity)
        content = json.dumps(document, separators=(",", ":")).encode()
        head = {
            "content-type": PROBLEM_MEDIA_TYPE,
            "content-length": len(content),
            REQUEST_ID.lower(): identity,
            "connection": "close",
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        self.transport.write(STATUS_LINE[error.status] + lines.encode() + b"\r\n" + content)
        self.transport.close()
