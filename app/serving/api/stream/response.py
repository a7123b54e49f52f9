"""A stream of lines, answered in order while it comes, with no more than a window of it inside."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.types import Message, Receive, Scope, Send

from app.errors import ClientLeftError, MediaTypeError, NotReadyError, ServiceError, SlowBodyError
from app.schemas.ndjson import NDJSON, Line, LineReader
from app.serving.api.body_deadline import lift
from app.serving.api.problems import reason_of
from app.serving.api.stream.line_answers import Answering
from app.trace import current

NAMES = re.compile(r"application/(?:(?:x-)?ndjson|(?:x-)?jsonl|(?:x-)?jsonlines)")

Result = TypeVar("Result")

PART = 16
"""Lines that are tokenized and admitted together, where so many are there."""


def require_ndjson(request: Request) -> None:
    """Return if a request's body is said to be lines of JSON.

    Raises:
        MediaTypeError: it is said to be something else, or compressed.
    """
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if not NAMES.fullmatch(media_type):
        raise MediaTypeError(f"Send lines of JSON, with 'Content-Type: {NDJSON}'.")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise MediaTypeError("Send the body as it is, without a Content-Encoding.")


@dataclass(frozen=True, slots=True)
class Window:
    """What a stream may have inside: read, and its answer not yet taken by the client."""

    lines: int
    size: int


@dataclass(frozen=True, slots=True)
class _Part:
    """Some lines that are being answered."""

    first: int
    lines: int
    size: int
    answers: asyncio.Future[bytes]


class StreamResponse(Response):
    """Reads a request's body while it answers it.

    A client that does not take answers is not read any further, once the window is full; so one
    that sends all before it reads anything must not send more than a window. A client has as long
    for each line as others have for a body; the time that its lines wait is not its own.
    """

    def __init__(
        self,
        reader: LineReader,
        answering: Answering,
        window: Window,
        client_seconds: float,
        closed: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        """Begin when called.

        Args:
            reader: cuts the body into lines.
            answering: answers some lines at once.
            window: what may be inside.
            client_seconds: time for the next whole line, while no answer is due.
            closed: returns when no more lines are taken.
        """
        super().__init__(media_type=NDJSON)
        del self.headers["content-length"]
        self._reader, self._answering, self._closed = reader, answering, closed
        self._window, self._client_seconds = window, client_seconds
        self._lines, self._bytes = 0, 0
        self._freed = asyncio.Event()
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._parts: asyncio.Queue[_Part | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle the request."""
        lift(scope)
        self._progress = asyncio.get_running_loop().time()
        # Before the first answer: a client that waits to be told to go on is told so by a reader.
        leaving = self._start(self._receive(receive))
        self._closing = self._start(self._closed())
        self._start(self._read())
        writing = self._start(self._write(send))
        try:
            await asyncio.wait({leaving, writing}, return_when=asyncio.FIRST_COMPLETED)
            if not writing.done():
                current().reason = reason_of(ClientLeftError.title)
                return
            writing.result()
        finally:
            for task in self._tasks:
                task.cancel()

    def _start(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        # Behind a stream's early end nobody asks any more; asyncio would complain of it.
        if not task.cancelled():
            task.exception()

    async def _receive(self, receive: Receive) -> None:
        """Take the body, a chunk ahead of what is read of it; return when the client has left."""
        while (message := await receive())["type"] != "http.disconnect":
            await self._arrived.put(message.get("body", b""))
            if not message.get("more_body", False):
                await self._arrived.put(None)

    async def _read(self) -> None:
        """Let lines in as there is room, up to the body's end or until no more can be taken."""
        try:
            while (chunk := await self._chunk()) is not None:
                await self._enter(self._reader.feed(chunk))
            await self._enter(self._reader.end())
        except Exception as error:  # noqa: BLE001  whatever it is, the writer tells it
            self._parts.put_nowait(_Part(self._reader.number, 0, 0, self._start(_failed(error))))
        self._parts.put_nowait(None)

    async def _chunk(self) -> bytes | None:
        """Return the next part of the body, or None behind its end."""
        arriving = self._start(self._arrived.get())
        try:
            while True:
                await asyncio.wait(
                    {arriving, self._closing},
                    timeout=self._time_left(),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if arriving.done():
                    return arriving.result()
                if self._closing.done():
                    raise NotReadyError("The service is shutting down; send the rest anew.")
                if self._time_left() <= 0:
                    raise SlowBodyError(
                        f"No whole line came within {self._client_seconds:g} s; send the rest anew."
                    )
        finally:
            arriving.cancel()

    def _time_left(self) -> float:
        if self._lines:  # it is the client who waits
            return self._client_seconds
        return self._progress + self._client_seconds - asyncio.get_running_loop().time()

    async def _enter(self, lines: Sequence[Line]) -> None:
        most = min(PART, self._window.lines)
        for start in range(0, len(lines), most):
            part = lines[start : start + most]
            size = sum(line.size for line in part)
            while self._lines and (
                self._lines + len(part) > self._window.lines
                or self._bytes + size > self._window.size
            ):
                self._freed.clear()
                await self._freed.wait()
            self._count(len(part), size)
            answers = self._start(self._answering.answer(part))
            self._parts.put_nowait(_Part(part[0].number, len(part), size, answers))
            # Lines that need no engine are answered in between.
            await asyncio.sleep(0)

    def _count(self, lines: int, size: int) -> None:
        self._lines += lines
        self._bytes += size
        self._progress = asyncio.get_running_loop().time()

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        while (part := await self._parts.get()) is not None:
            try:
                await send(_body(await part.answers))
            except ServiceError as error:
                current().reason = reason_of(error.title)
                await send(_body(self._answering.last_line(part.first, error)))
                break
            self._count(-part.lines, -part.size)
            self._freed.set()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _failed(error: Exception) -> bytes:
    raise error


def _body(content: bytes) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": True}
