"""The protocol class against a fake transport; `test_client_connections.py` uses real sockets."""

import asyncio
import json
from collections.abc import Callable, Coroutine

import pytest
import uvicorn
from uvicorn.server import ServerState

from app.serving.server.http_connection import MAX_HEAD_BYTES, HttpConnection

LONG = 60.0
REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


class FakeTransport(asyncio.Transport):
    """Keeps what is written, and whether the connection was closed or aborted."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.unsent = b"", 0
        self.closed = self.aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def no_content(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def silent(scope, receive, send):
    await asyncio.Event().wait()


def in_loop(
    test: Callable[[HttpConnection, FakeTransport], Coroutine[None, None, None]],
    client_seconds: float = LONG,
    app=no_content,
) -> None:
    async def main() -> None:
        config = uvicorn.Config(app, log_config=None, access_log=False)
        config.load()
        state = ServerState()
        connection = HttpConnection(
            config=config, server_state=state, app_state={}, client_seconds=client_seconds
        )
        transport = FakeTransport()
        connection.connection_made(transport)
        async with asyncio.timeout(10):
            await test(connection, transport)
        connection.connection_lost(None)
        for task in state.tasks:
            task.cancel()

    asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  nothing signals a write to the transport
        await asyncio.sleep(0.001)


def problem_of(transport: FakeTransport) -> dict:
    head, _, body = transport.written.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    return json.loads(body)


def test_a_request_is_answered():
    async def test(connection: HttpConnection, transport: FakeTransport) -> None:
        connection.data_received(REQUEST)
        await until(lambda: b"204" in transport.written)
        assert not transport.is_closing()

    in_loop(test)


def test_bytes_that_are_not_http_get_a_problem_and_a_close():
    async def test(connection: HttpConnection, transport: FakeTransport) -> None:
        connection.data_received(b"\x16\x03\x01 hello\r\n\r\n")
        assert problem_of(transport)["status"] == 400
        assert transport.closed

    in_loop(test)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (MAX_HEAD_BYTES // 5) + b"\r\n",
    ],
    ids=["url", "headers"],
)
def test_a_head_above_the_limit_gets_431(head):
    async def test(connection: HttpConnection, transport: FakeTransport) -> None:
        connection.data_received(head)
        assert problem_of(transport)["status"] == 431
        assert transport.closed

    in_loop(test)


def test_an_endless_header_is_counted_while_it_arrives():
    async def test(connection: HttpConnection, transport: FakeTransport) -> None:
        connection.data_received(b"GET / HTTP/1.1\r\na: ")
        for _ in range(MAX_HEAD_BYTES // 1024 + 1):
            connection.data_received(b"b" * 1024)
        assert problem_of(transport)["status"] == 431

    in_loop(test)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nhost: "], ids=["nothing", "half a head"])
def test_a_client_that_does_not_finish_a_head_is_cut_off(sent):
    async def test(connection: HttpConnection, transport: FakeTransport) -> None:
        if sent:
            connection.data_received(sent)
        await until(lambda: transport.aborted)

    in_loop(test, client_seconds=0.01)


def test_a_request_the_application_works_on_has_no_client_timer():
    async def test(connection: HttpConnection, transport: FakeTransport) -> None:
        connection.data_received(REQUEST)
        await asyncio.sleep(0.05)
        assert not transport.is_closing()

    in_loop(test, client_seconds=0.01, app=silent)


def test_a_client_that_does_not_take_its_answer_is_cut_off():
    async def test(connection: HttpConnection, transport: FakeTransport) -> None:
        transport.unsent = 1
        connection.data_received(REQUEST)
        await until(lambda: transport.aborted)

    in_loop(test, client_seconds=0.01)


def test_an_idle_connection_outlives_the_client_timer():
    async def test(connection: HttpConnection, transport: FakeTransport) -> None:
        connection.data_received(REQUEST)
        await until(lambda: b"204" in transport.written)
        await asyncio.sleep(0.05)
        assert not transport.is_closing()

    in_loop(test, client_seconds=0.01)
