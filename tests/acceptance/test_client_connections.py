"""Slow, silent and disconnecting clients of a real server."""

import json
import socket
import time
from contextlib import suppress
from http.client import HTTPConnection

import pytest

from tests.support.faulty_engine import text_of_tokens
from tests.support.faulty_server import FaultyServer, faulty_server
from tests.support.polling import wait_until

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def server(tiny_folder, tmp_path_factory):
    """A server with `client_seconds` of one second."""
    folder = tmp_path_factory.mktemp("impatient")
    with faulty_server(tiny_folder, folder, client_seconds="1") as server:
        yield server


def request(path: str = "/classify", length: int | None = None) -> bytes:
    """Return an ad's request, or only a head that announces `length` bytes."""
    content = json.dumps({"text": text_of_tokens(20)}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"content-length: {length or len(content)}\r\n\r\n"
    )
    return head.encode() + (b"" if length else content)


def drip(server: FaultyServer, first: bytes, drops: bytes) -> bytes:
    """Send `first`, then `drops` repeatedly until the server disconnects; return its answer."""
    answer = b""
    with server.connection() as connection, suppress(ConnectionError):
        connection.sendall(first)
        connection.settimeout(0.05)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                received = connection.recv(65536)
            except TimeoutError:
                connection.sendall(drops)
                continue
            if not received:
                return answer
            answer += received
    assert time.monotonic() < end, "the server did not disconnect"
    return answer


def test_silent_connection_is_closed(server):
    assert drip(server, b"", b"") == b""


def test_endless_head_is_disconnected(server):
    assert drip(server, b"POST /classify HTTP/1.1\r\n", b"x-more: 1\r\n") == b""


def test_endless_empty_lines_are_disconnected(server):
    assert drip(server, b"", b"\r\n") == b""


def test_endless_body_gets_408_and_is_disconnected(server):
    answer = drip(server, request("/classify", 10_000), b" ")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 Request Timeout")
    assert b"connection: close" in head.lower()
    assert b"application/problem+json" in head
    problem = json.loads(body)
    assert problem["status"] == 408
    assert "within 1 s" in problem["detail"]
    assert server.metric("requests_total", route="/classify", status="408") == 1


def test_endless_body_after_its_answer_is_disconnected(server):
    answer = drip(server, request("/health/live", 10_000), b" ")
    assert answer.startswith(b"HTTP/1.1 405")


def test_endless_second_head_is_disconnected(server):
    answer = drip(server, request() + b"POST /classify HTTP/1.1\r\n", b"x-more: 1\r\n")
    assert answer.count(b"HTTP/1.1 200") == 1


def test_client_that_does_not_read_is_disconnected(server):
    with server.connection(receive_buffer=2048) as connection:
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 500)
        wait_until(lambda: established(connection) == 0, seconds=20)


def established(connection: socket.socket) -> int:
    """Count the server's sockets of a connection that are still established."""
    port = f":{connection.getsockname()[1]:04X}"
    with open("/proc/net/tcp", encoding="ascii") as lines:  # noqa: PTH123  not a file on a disk
        fields = [line.split() for line in lines]
    return sum(row[2].endswith(port) and row[3] == "01" for row in fields)


def test_idle_client_keeps_its_connection(server):
    connection = HTTPConnection(server.address.removeprefix("http://"))
    connection.connect()
    connection.auto_open = 0
    for _ in range(3):
        connection.request("GET", "/health/ready")
        assert connection.getresponse().read()
        # Longer than `client_seconds`, which does not limit idle connections.
        time.sleep(1.5)
    connection.close()


def test_ad_of_a_disconnected_client_never_runs(server):
    ran = server.metric("batch_ads_sum")
    left = server.metric("requests_total", route="/classify", status="499")
    [held] = server.send_behind_held()
    with server.connection() as connection:
        connection.sendall(request())
        wait_until(lambda: server.metric("queued_ads") == 2, seconds=20)
    wait_until(lambda: server.metric("queued_ads") == 1, seconds=20)
    server.release()
    assert held.result().status_code == 200
    assert server.send(20).status_code == 200
    assert server.metric("batch_ads_sum") == ran + 2
    assert server.metric("requests_total", route="/classify", status="499") == left + 1


def test_ad_with_expired_deadline_gets_504_and_never_runs(server):
    ran = server.metric("batch_ads_sum")
    [held] = server.send_behind_held()
    late = server.send(20, **{"X-Request-Timeout-Ms": "50"})
    assert late.status_code == 504
    assert server.metric("queued_ads") == 1
    server.release()
    assert held.result().status_code == 200
    # The batcher goes on without the expired ad.
    assert server.send(20).status_code == 200
    assert server.metric("batch_ads_sum") == ran + 2
