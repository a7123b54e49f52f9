"""The response of a stream: reads lines and answers them in order, a limited window at a time."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Response
from starlette.types import Message, Receive, Scope, Send

from app.core.errors import ClientLeftError, NotReadyError, ServiceError, SlowBodyError
from app.schemas.ndjson import NDJSON, Line, LineReader
from app.serving.api.body_deadline import lift_body_deadline
from app.serving.api.problems import reason_of
from app.serving.api.stream.line_answers import LineAnswerer
from app.serving.request_trace import current

Result = TypeVar("Result")

MAX_PART_LINES = 16
"""Maximum lines that are tokenized and admitted together."""


@dataclass(frozen=True, slots=True)
class StreamWindow:
    """Limits of the lines that were read and whose answers the client has not taken yet."""

    lines: int
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Some consecutive lines and the task that answers them."""

    first: int
    lines: int
    size: int
    answers: asyncio.Future[bytes]


class StreamResponse(Response):
    """Reads a request's body while it sends the answers.

    Once the window is full, nothing more is read until the client takes answers. So a client that
    sends everything before it reads an answer must not send more than a window. A client has
    `client_seconds` for each line, as others have for a whole body; the time during which its lines
    wait for the service does not count.

    Args:
        reader: cuts the body into lines.
        answerer: answers some lines at once.
        window: limits of the lines in progress.
        client_seconds: time for the next whole line, while no answer is due.
        closed: returns when the service takes no more lines.
    """

    def __init__(
        self,
        reader: LineReader,
        answerer: LineAnswerer,
        window: StreamWindow,
        client_seconds: float,
        closed: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        super().__init__(media_type=NDJSON)
        del self.headers["content-length"]
        self._reader, self._answerer, self._closed = reader, answerer, closed
        self._window, self._client_seconds = window, client_seconds
        self._lines, self._bytes = 0, 0
        self._freed = asyncio.Event()
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._parts: asyncio.Queue[_Part | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        lift_body_deadline(scope)
        self._progress = asyncio.get_running_loop().time()
        # Receiving starts before the answer does: a client that sent `Expect: 100-continue` holds
        # its body back until then.
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
        # After an early end the other tasks are not awaited; asyncio would log their exceptions.
        if not task.cancelled():
            task.exception()

    async def _receive(self, receive: Receive) -> None:
        """Receive the body, one chunk ahead of the reader; return when the client disconnects."""
        while (message := await receive())["type"] != "http.disconnect":
            await self._arrived.put(message.get("body", b""))
            if not message.get("more_body", False):
                await self._arrived.put(None)

    async def _read(self) -> None:
        """Cut the body into lines and start answering them, until its end or an error."""
        try:
            while (chunk := await self._chunk()) is not None:
                await self._start_parts(self._reader.feed(chunk))
            await self._start_parts(self._reader.end())
        except Exception as error:  # noqa: BLE001  the writer raises or sends it
            self._parts.put_nowait(_Part(self._reader.number, 0, 0, self._start(_failed(error))))
        self._parts.put_nowait(None)

    async def _chunk(self) -> bytes | None:
        """Return the next chunk of the body, or None after its end."""
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
                    raise NotReadyError(
                        "The service is shutting down; send this line and all after it again."
                    )
                if self._time_left() <= 0:
                    raise SlowBodyError(
                        f"No complete line arrived within {self._client_seconds:g} s; "
                        "send this line and all after it again."
                    )
        finally:
            arriving.cancel()

    def _time_left(self) -> float:
        if self._lines:  # the client is waiting for the service
            return self._client_seconds
        return self._progress + self._client_seconds - asyncio.get_running_loop().time()

    async def _start_parts(self, lines: Sequence[Line]) -> None:
        """Start answering lines, part by part, as the window has room."""
        most = min(MAX_PART_LINES, self._window.lines)
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
            answers = self._start(self._answerer.answer(part))
            self._parts.put_nowait(_Part(part[0].number, len(part), size, answers))
            # Lines that need no engine, such as malformed ones, are answered during this pause.
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
                await send(_body(self._answerer.last_line(part.first, error)))
                break
            self._count(-part.lines, -part.size)
            self._freed.set()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _failed(error: Exception) -> bytes:
    raise error


def _body(content: bytes) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": True}
