"""Reading and answering a stream, with answers that a test scripts."""

import asyncio

import pytest

from app.core.errors import NotReadyError, ServiceError
from app.schemas.ndjson import LineReader
from app.serving.api.stream.response import MAX_PART_LINES, StreamResponse, StreamWindow
from tests.support.simulated_time import SimulatedTime

FOREVER = 1000.0


class ScriptedAnswerer:
    """Answers lines with their own text when the test allows it; records what came in."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.parts: list[int] = []
        self.held: dict[int, asyncio.Event] = {}
        self.cancelled = 0
        self.error: Exception | None = None

    async def answer(self, lines):
        self.lines += [line.content for line in lines]
        self.parts.append(len(lines))
        try:
            if gate := self.held.get(lines[0].number):
                await gate.wait()
        except asyncio.CancelledError:
            self.cancelled += len(lines)
            raise
        if self.error:
            raise self.error
        return b"".join(line.content + b"\n" for line in lines)

    def last_line(self, number: int, error: ServiceError) -> bytes:
        return b"end %d %d\n" % (number, error.status)


class Exchange:
    """One request to a stream, and a client that a test controls."""

    def __init__(self, lines: int = 64, size: int = 10**6, seconds: float = FOREVER) -> None:
        self.answerer = ScriptedAnswerer()
        self.closed = asyncio.Event()
        self.taken = bytearray()
        self.statuses: list[int] = []
        self.complete = False
        self.received = 0
        self._takes = asyncio.Event()
        self._takes.set()
        self._sent: asyncio.Queue[dict] = asyncio.Queue()
        self._response = StreamResponse(
            LineReader(1, 100), self.answerer, StreamWindow(lines, size), seconds, self.closed.wait
        )
        self.task = asyncio.create_task(
            self._response({"type": "http", "state": {}}, self._receive, self._send)
        )

    def send(self, body: bytes, *, more: bool = True) -> None:
        self._sent.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self._sent.put_nowait({"type": "http.disconnect"})

    def stop_taking(self) -> None:
        self._takes.clear()

    def take(self) -> None:
        self._takes.set()

    async def _receive(self) -> dict:
        message = await self._sent.get()
        self.received += len(message.get("body", b""))
        return message

    async def _send(self, message: dict) -> None:
        await self._takes.wait()
        if message["type"] == "http.response.start":
            self.statuses.append(message["status"])
            return
        self.taken += message["body"]
        self.complete = not message["more_body"]


async def settle() -> None:
    """Let everything happen that can."""
    for _ in range(200):
        await asyncio.sleep(0)


def run(test, **limits):
    async def main():
        exchange = Exchange(**limits)
        try:
            await asyncio.wait_for(test(exchange), 20)
        finally:
            exchange.task.cancel()

    # However slow the machine is, a client of a test is as fast as it says.
    with asyncio.Runner(loop_factory=SimulatedTime) as runner:
        runner.run(main())


def test_answers_come_while_the_body_still_does():
    async def test(exchange):
        exchange.send(b"a\nb\nc")
        await settle()
        assert (exchange.statuses, exchange.taken) == ([200], b"a\nb\n")
        exchange.send(b"c", more=False)
        await exchange.task
        assert (exchange.taken, exchange.complete) == (b"a\nb\ncc\n", True)

    run(test)


def test_a_later_answer_waits_for_the_one_before():
    async def test(exchange):
        exchange.answerer.held[1] = gate = asyncio.Event()
        exchange.send(b"a\n")
        exchange.send(b"b\n", more=False)
        await settle()
        assert exchange.answerer.lines == [b"a", b"b"]
        assert exchange.taken == b""
        gate.set()
        await exchange.task
        assert exchange.taken == b"a\nb\n"

    run(test)


def test_lines_that_come_together_are_answered_in_parts():
    async def test(exchange):
        exchange.send(b"a\n" * (MAX_PART_LINES + 3), more=False)
        await exchange.task
        assert exchange.answerer.parts == [MAX_PART_LINES, 3]

    run(test)


@pytest.mark.parametrize("limits", [{"lines": 4}, {"size": 8}])
def test_a_full_window_makes_the_sender_wait(limits):
    async def test(exchange):
        exchange.answerer.held[1] = gate = asyncio.Event()
        for _ in range(1000):
            exchange.send(b"aa\n")
        await settle()
        assert exchange.answerer.lines == [b"aa"] * 4
        # Three chunks more: one waits for the window, one in the queue, one to be put into it.
        assert exchange.received <= (4 + 3) * 3
        gate.set()
        await settle()
        assert len(exchange.answerer.lines) > 4

    run(test, **limits)


def test_a_client_that_takes_no_answers_is_not_read():
    async def test(exchange):
        exchange.stop_taking()
        for _ in range(1000):
            exchange.send(b"aa\n")
        await settle()
        assert len(exchange.answerer.lines) == 4
        exchange.take()
        await settle()
        assert len(exchange.answerer.lines) > 4

    run(test, lines=4)


def test_a_window_may_be_sent_before_answers_are_taken():
    """Most HTTP libraries do so; otherwise they would wait forever."""

    async def test(exchange):
        exchange.stop_taking()
        exchange.send(b"a\n" * 64, more=False)
        await settle()
        assert exchange.received == 128
        assert len(exchange.answerer.lines) == 64
        exchange.take()
        await exchange.task
        assert exchange.complete

    run(test, lines=64)


def test_a_line_larger_than_the_window_goes_alone():
    async def test(exchange):
        exchange.send(b"a" * 50 + b"\nb\n", more=False)
        await exchange.task
        assert exchange.taken == b"a" * 50 + b"\nb\n"

    run(test, size=8)


def test_a_disconnect_cancels_the_clients_lines():
    async def test(exchange):
        exchange.answerer.held = {1: asyncio.Event(), 2: asyncio.Event()}
        exchange.send(b"a\n")
        exchange.send(b"b\n")
        await settle()
        exchange.leave()
        await exchange.task
        await settle()
        assert exchange.answerer.cancelled == 2
        assert not exchange.complete

    run(test)


def test_a_client_that_says_nothing_is_told_where_to_resume():
    async def test(exchange):
        exchange.send(b"a\nb")
        await exchange.task
        assert (exchange.taken, exchange.complete) == (b"a\nend 2 408\n", True)

    run(test, seconds=0.05)


def test_bytes_without_a_whole_line_are_no_progress():
    async def test(exchange):
        async def drip():
            while True:
                exchange.send(b"a")
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        await exchange.task
        dripping.cancel()
        assert exchange.taken == b"end 1 408\n"

    run(test, seconds=0.1)


def test_a_stream_with_progress_has_no_time_limit():
    async def test(exchange):
        for _ in range(20):
            exchange.send(b"a\n")
            await asyncio.sleep(0.02)
        exchange.send(b"", more=False)
        await exchange.task
        assert exchange.taken == b"a\n" * 20

    run(test, seconds=0.2)


def test_a_client_that_waits_for_its_answers_is_not_slow():
    async def test(exchange):
        exchange.answerer.held[1] = gate = asyncio.Event()
        exchange.send(b"a\n")
        await asyncio.sleep(0.1)
        assert not exchange.task.done()
        gate.set()
        await settle()
        exchange.send(b"b", more=False)
        await exchange.task
        assert exchange.taken == b"a\nb\n"

    run(test, seconds=0.05)


def test_a_closing_service_answers_its_lines_and_names_the_next():
    async def test(exchange):
        exchange.answerer.held[1] = gate = asyncio.Event()
        exchange.send(b"a\nb\n")
        await settle()
        exchange.closed.set()
        await settle()
        exchange.send(b"c\n")
        gate.set()
        await exchange.task
        assert (exchange.taken, exchange.complete) == (b"a\nb\nend 3 503\n", True)

    run(test)


def test_a_refused_part_ends_the_stream_at_its_first_line():
    async def test(exchange):
        exchange.send(b"a\n")
        await settle()
        exchange.answerer.error = NotReadyError("closed")
        exchange.send(b"b\nc\n")
        exchange.send(b"d\n")
        await exchange.task
        assert exchange.taken == b"a\nend 2 503\n"

    run(test)


def test_an_unexpected_error_aborts_the_stream():
    async def test(exchange):
        exchange.answerer.error = KeyError("inside")
        exchange.send(b"a\n")
        with pytest.raises(KeyError):
            await exchange.task
        assert not exchange.complete

    run(test)
