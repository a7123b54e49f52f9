"""A bare HTTP client for load: cheap enough to share the machine with the server it measures.

Nothing but the given address is contacted; a redirect is an answer like any other.
"""

import asyncio
import json
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser

LOST = 0
"""Stands for the status of a request whose connection ended without an answer in HTTP."""

READ_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, or `LOST`; times in seconds, `seconds` since the request was meant to be sent."""

    status: int
    headers: dict[str, str]
    seconds: float
    ended: float
    body: bytes = b""

    @property
    def retry_after(self) -> int:
        """Seconds to wait before the next try, as a refusal says."""
        return int(self.headers["retry-after"])


def encode(body: object) -> bytes:
    """Return a body's bytes; half a surrogate pair, as scrapers leave it, is replaced."""
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def classify_request(
    body: object, path: str = "/classify", host: str = "bench", api_key: str | None = None
) -> bytes:
    """Return the bytes of a whole request, so that sending it again costs nothing."""
    content = encode(body)
    lines = [f"POST {path} HTTP/1.1", f"host: {host}", "content-type: application/json"]
    if api_key:
        lines.append(f"authorization: Bearer {api_key}")
    return "\r\n".join([*lines, f"content-length: {len(content)}\r\n\r\n"]).encode() + content


class Connections:
    """Keep-alive connections to one server; a new one is opened when none is free."""

    def __init__(self, address: str) -> None:
        """Take the server's address, http or https; what follows the host is left aside."""
        parts = urlsplit(address)
        secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port or (443 if secure else 80)
        self._ssl = ssl.create_default_context() if secure else None
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, request: bytes, intended: float | None = None) -> Reply:
        """Send one request and read its answer; `intended` counts from time.perf_counter."""
        begin = time.perf_counter() if intended is None else intended
        writer = None
        try:
            reader, writer = await self._open()
            writer.write(request)
            answer = await read_answer(reader)
        except (OSError, HttpParserError):
            now = time.perf_counter()
            return Reply(LOST, {}, now - begin, now)
        else:
            if answer.goes_on:
                self._free.append((reader, writer))
                writer = None
        finally:
            # Whatever failed or was given up: its answer must not become the next one's.
            if writer is not None:
                writer.close()
        now = time.perf_counter()
        return Reply(answer.status, answer.headers, now - begin, now, b"".join(answer.parts))

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._free:
            reader, writer = self._free.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port, ssl=self._ssl)

    def close(self) -> None:
        """Close whatever is free."""
        while self._free:
            self._free.pop()[1].close()


class Answer:
    """Takes what the parser finds: one answer's status, headers (in lower case) and body."""

    def __init__(self) -> None:
        self.parser = HttpResponseParser(self)
        self.status, self.complete = LOST, False
        self.goes_on = False
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
        """Note that nothing is missing."""
        # Asked later, the parser would speak of the next message.
        self.status, self.goes_on = self.parser.get_status_code(), self.parser.should_keep_alive()
        self.complete = True


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read one answer to its end.

    Raises:
        ConnectionError: the connection ended before.
        HttpParserError: what came is not HTTP.
    """
    answer = Answer()
    while not answer.complete:
        data = await reader.read(READ_BYTES)
        if not data:
            raise ConnectionResetError("The connection ended before the answer.")
        answer.parser.feed_data(data)
    return answer
