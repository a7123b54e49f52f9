"""A minimal HTTP/1.1 client for load: cheap enough to share a machine with the server it measures.

It contacts no address but the given one: a redirect is an answer like any other.
"""

import asyncio
import json
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser

LOST = 0
"""The status of a request whose connection ended without a complete HTTP answer."""

READ_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class HttpReply:
    """The answer to one request; its status is `LOST` if there was none."""

    status: int
    headers: dict[str, str]
    """By name in lower case."""
    seconds: float
    """From the intended time of sending to the end of the answer."""
    ended: float
    """When the answer ended, as `time.perf_counter` counts."""
    body: bytes = b""

    @property
    def retry_after(self) -> int:
        """The header Retry-After of a refusal, in seconds."""
        return int(self.headers["retry-after"])


def encode_json(body: object) -> bytes:
    """Return JSON as UTF-8; unpaired surrogates, which scraped texts contain, become "?"."""
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def classify_request(
    body: object, path: str = "/classify", host: str = "bench", api_key: str | None = None
) -> bytes:
    """Return the bytes of a whole POST request, so that they are built once and sent many times."""
    content = encode_json(body)
    lines = [f"POST {path} HTTP/1.1", f"host: {host}", "content-type: application/json"]
    if api_key:
        lines.append(f"authorization: Bearer {api_key}")
    return "\r\n".join([*lines, f"content-length: {len(content)}\r\n\r\n"]).encode() + content


class ConnectionPool:
    """A pool of keep-alive connections to one server; it opens a new one when none is free.

    Args:
        address: of the server, http or https; its path is ignored.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port or (443 if secure else 80)
        self._ssl = ssl.create_default_context() if secure else None
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, request: bytes, intended: float | None = None) -> HttpReply:
        """Send one request and read its answer.

        Args:
            request: all its bytes.
            intended: when it should have been sent, as `time.perf_counter` counts; now by default.
        """
        begin = time.perf_counter() if intended is None else intended
        writer = None
        try:
            reader, writer = await self._open()
            writer.write(request)
            response = await read_response(reader)
        except (OSError, HttpParserError):
            now = time.perf_counter()
            return HttpReply(LOST, {}, now - begin, now)
        else:
            if response.keep_alive:
                self._free.append((reader, writer))
                writer = None
        finally:
            # After an error or a cancellation the connection is closed: its late answer would be
            # taken for that of the next request.
            if writer is not None:
                writer.close()
        now = time.perf_counter()
        return HttpReply(
            response.status, response.headers, now - begin, now, b"".join(response.parts)
        )

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._free:
            reader, writer = self._free.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port, ssl=self._ssl)

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._free:
            self._free.pop()[1].close()


class ResponseParser:
    """Collects the status, headers (names in lower case) and body of one response.

    The `on_...` methods are the callbacks of `httptools`.
    """

    def __init__(self) -> None:
        self.parser = HttpResponseParser(self)
        self.status, self.complete = LOST, False
        self.keep_alive = False
        """Whether the connection may be used again."""
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, part: bytes) -> None:
        """Keep a part of the body."""
        self.parts.append(part)

    def on_message_complete(self) -> None:
        """Mark the response as complete and keep what the parser says of it."""
        # After this callback the parser's state is that of the next message.
        self.status, self.keep_alive = (
            self.parser.get_status_code(),
            self.parser.should_keep_alive(),
        )
        self.complete = True


async def read_response(reader: asyncio.StreamReader) -> ResponseParser:
    """Read one response to its end.

    Raises:
        ConnectionError: the connection ended before.
        HttpParserError: the bytes are not HTTP.
    """
    response = ResponseParser()
    while not response.complete:
        data = await reader.read(READ_BYTES)
        if not data:
            raise ConnectionResetError("The connection ended before the answer.")
        response.parser.feed_data(data)
    return response
