"""The bare client against a server that says what the test wants."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from app.bench.http_client import LOST, Connections, Reply, classify_request

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handle: Handler) -> AsyncIterator[Connections]:
    """Give connections to a server of one handler; leave nothing open behind."""
    handlers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError):
            await handle(reader, writer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        links = Connections("http://{}:{}".format(*server.sockets[0].getsockname()))
        yield links
        links.close()
        await asyncio.gather(*handlers)


def talk(*answers: bytes, requests: int = 1, close: bool = False) -> tuple[list[Reply], list[int]]:
    """Send requests one after the other; return replies, and each one's connection's number."""
    used: list[int] = []
    left = list(answers)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(set(used))
        while await reader.readuntil(b'{"text": "a"}'):
            used.append(number)
            writer.write(left.pop(0))
            if close:
                return

    async def main() -> list[Reply]:
        async with serving(handle) as links:
            return [await links.send(classify_request({"text": "a"})) for _ in range(requests)]

    return asyncio.run(main()), used


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def test_a_connection_is_kept_for_the_next_request():
    replies, used = talk(OK, OK, requests=2)
    assert [(one.status, one.body) for one in replies] == [(200, b"{}")] * 2
    assert used == [0, 0]


def test_a_connection_that_the_server_ends_is_not_used_again():
    closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"
    replies, used = talk(closing, OK, requests=2)
    assert [one.status for one in replies] == [200, 200]
    assert used == [0, 1]


def test_a_body_in_chunks_is_read_to_its_end():
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n1\r\n \r\n0\r\n\r\n"
    replies, used = talk(chunked, OK, requests=2)
    assert replies[0].body == b"{} "
    assert used == [0, 0]


def test_a_refusal_tells_when_to_come_back():
    refusal = b"HTTP/1.1 429 Busy\r\nRetry-After: 7\r\ncontent-length: 0\r\n\r\n"
    ([reply], _) = talk(refusal)
    assert (reply.status, reply.retry_after) == (429, 7)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", b"SSH-2"]
)
def test_half_an_answer_or_none_is_lost(answer):
    ([reply], _) = talk(answer, close=True)
    assert reply.status == LOST
    assert reply.seconds > 0


def test_an_answer_that_was_given_up_never_becomes_the_next_ones():
    """The first answer comes late, on a connection that must not be used again by then."""
    late = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        text = await reader.readexactly(5)
        if text == b"first":
            await late.wait()
        writer.write(OK if text == b"first" else OK.replace(b"{}", b"[]"))
        await reader.read()

    async def main() -> None:
        async with serving(handle) as links:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await links.send(b"first")
            late.set()
            assert (await links.send(b"other")).body == b"[]"

    asyncio.run(main())


def test_the_key_and_the_host_are_sent_and_half_surrogates_are_replaced():
    request = classify_request({"text": "\ud800ü"}, "/p/classify", "ads.example", "secret")
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /p/classify HTTP/1.1"
    assert "host: ads.example" in lines
    assert "authorization: Bearer secret" in lines
    assert f"content-length: {len(body)}" in lines
    assert body.decode() == '{"text": "?ü"}'
