"""A bare HTTP client for load: cheap enough to share the machine with the server it measures."""

import asyncio
import json
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

LOST = 0
"""Stands for the status of a request whose connection ended without an answer."""


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
        return int(self.headers["retry-after"])


def classify_request(body: dict, path: str = "/classify") -> bytes:
    """Return the bytes of a whole request, so that sending it again costs nothing."""
    content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
    head = f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


class Connections:
    """Keep-alive connections to one server; a new one is opened when none is free."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname, parts.port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, request: bytes, intended: float | None = None) -> Reply:
        """Send one request and read its answer; `intended` counts from time.perf_counter."""
        begin = time.perf_counter() if intended is None else intended
        try:
            reader, writer = await self._open()
            writer.write(request)
            status, headers, body = await read_answer(reader)
        except (OSError, asyncio.IncompleteReadError):
            now = time.perf_counter()
            return Reply(LOST, {}, now - begin, now)
        if headers.get("connection") == "close":
            writer.close()
        else:
            self._free.append((reader, writer))
        now = time.perf_counter()
        return Reply(status, headers, now - begin, now, body)

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._free:
            reader, writer = self._free.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port)

    def close(self) -> None:
        """Close whatever is free."""
        while self._free:
            self._free.pop()[1].close()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers (names in lower case) and body of one answer."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return int(first.split()[1]), headers, body
