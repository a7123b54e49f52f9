import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from app.bench.http_client import LOST, ConnectionPool, HttpReply, classify_request

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handle: Handler) -> AsyncIterator[ConnectionPool]:
    """Yield a pool of connections to a server with this handler; close everything at the end."""
    handlers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError):
            await handle(reader, writer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        connections = ConnectionPool("http://{}:{}".format(*server.sockets[0].getsockname()))
        yield connections
        connections.close()
        await asyncio.gather(*handlers)


def exchange(
    *answers: bytes, requests: int = 1, close: bool = False
) -> tuple[list[HttpReply], list[int]]:
    """Send requests in sequence; return the replies and the number of each one's connection."""
    used: list[int] = []
    left = list(answers)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(set(used))
        while await reader.readuntil(b'{"text": "a"}'):
            used.append(number)
            writer.write(left.pop(0))
            if close:
                return

    async def main() -> list[HttpReply]:
        async with serving(handle) as connections:
            return [
                await connections.send(classify_request({"text": "a"})) for _ in range(requests)
            ]

    return asyncio.run(main()), used


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def test_a_connection_is_kept_for_the_next_request():
    replies, used = exchange(OK, OK, requests=2)
    assert [(one.status, one.body) for one in replies] == [(200, b"{}")] * 2
    assert used == [0, 0]


def test_a_closed_connection_is_not_used_again():
    closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"
    replies, used = exchange(closing, OK, requests=2)
    assert [one.status for one in replies] == [200, 200]
    assert used == [0, 1]


def test_a_chunked_body_is_read_to_its_end():
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n1\r\n \r\n0\r\n\r\n"
    replies, used = exchange(chunked, OK, requests=2)
    assert replies[0].body == b"{} "
    assert used == [0, 0]


def test_a_refusal_has_seconds_to_wait():
    refusal = b"HTTP/1.1 429 Busy\r\nRetry-After: 7\r\ncontent-length: 0\r\n\r\n"
    ([reply], _) = exchange(refusal)
    assert (reply.status, reply.retry_after) == (429, 7)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", b"SSH-2"]
)
def test_an_incomplete_answer_is_lost(answer):
    ([reply], _) = exchange(answer, close=True)
    assert reply.status == LOST
    assert reply.seconds > 0


def test_a_late_answer_is_not_that_of_the_next_request():
    """A request that was given up on leaves a connection that must not be used again."""
    late = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        text = await reader.readexactly(5)
        if text == b"first":
            await late.wait()
        writer.write(OK if text == b"first" else OK.replace(b"{}", b"[]"))
        await reader.read()

    async def main() -> None:
        async with serving(handle) as connections:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await connections.send(b"first")
            late.set()
            assert (await connections.send(b"other")).body == b"[]"

    asyncio.run(main())


def test_a_request_has_host_key_and_valid_utf8():
    request = classify_request({"text": "\ud800ü"}, "/p/classify", "ads.example", "secret")
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /p/classify HTTP/1.1"
    assert "host: ads.example" in lines
    assert "authorization: Bearer secret" in lines
    assert f"content-length: {len(body)}" in lines
    assert body.decode() == '{"text": "?ü"}'
