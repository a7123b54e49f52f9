"""Streams of a real server: clients that disconnect, stall or do not read, and shutdown."""

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.faulty_engine import text_of_tokens
from tests.support.faulty_server import FaultyServer, faulty_server
from tests.support.polling import wait_until
from tests.support.server_process import HTTP, peak_megabytes

pytestmark = pytest.mark.server

HEAD = (
    b"POST /classify/stream HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
ROUTE = "/classify/stream"


SETTINGS = {
    "client_seconds": "1",
    "max_batch_ads": "64",
    "max_body_bytes": "65536",
    # Long enough for all lines of an upload window, also on a slow machine.
    "max_queue_seconds": "60",
}


@pytest.fixture(scope="module")
def server(tiny_folder, tmp_path_factory):
    with faulty_server(tiny_folder, tmp_path_factory.mktemp("streams"), **SETTINGS) as server:
        yield server


class RawStream:
    """A stream over a plain TCP connection; the test decides when to send and to read."""

    def __init__(self, server: FaultyServer, receive_buffer: int | None = None) -> None:
        self.socket: socket.socket = server.connection(receive_buffer)
        self.socket.sendall(HEAD)
        self._answer = self.socket.makefile("rb")

    def send(self, *texts: str) -> None:
        body = b"".join(json.dumps({"text": text, "top_k": 1}).encode() + b"\n" for text in texts)
        self.socket.sendall(b"%x\r\n%s\r\n" % (len(body), body))

    def end(self) -> None:
        self.socket.sendall(b"0\r\n\r\n")

    def head(self) -> list[str]:
        """Read the status line and headers in lower case."""
        lines = iter(lambda: self._answer.readline().decode().strip(), "")
        return [line.lower() for line in lines]

    def lines(self) -> Iterator[dict]:
        """Yield the lines of the answer as they arrive."""
        rest = b""
        while size := int(self._answer.readline(), 16):
            rest += self._answer.read(size)
            self._answer.readline()
            *complete, rest = rest.split(b"\n")
            yield from map(json.loads, complete)
        self._answer.readline()
        assert not rest

    def close(self) -> None:
        self._answer.close()
        self.socket.close()


def test_answers_come_before_the_next_line_is_sent(server):
    stream = RawStream(server)
    head = stream.head()
    assert head[0] == "http/1.1 200 ok"
    assert any(line.startswith("server-timing: total;dur=") for line in head)
    lines = stream.lines()
    for number in (1, 2, 3):
        stream.send(text_of_tokens(20))
        assert next(lines)["line"] == number
    stream.end()
    assert list(lines) == []
    # The connection is kept.
    stream.socket.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
    assert stream.head()[0] == "http/1.1 200 ok"
    stream.close()


def test_stalled_client_is_disconnected_with_the_line_to_resume(server):
    stream = RawStream(server)
    stream.head()
    stream.send(text_of_tokens(20))
    first, last = stream.lines()
    assert (first["line"], last["line"]) == (1, 2)
    assert (last["resume"], last["error"]["status"]) == (True, 408)
    assert stream.socket.recv(1) == b""
    stream.close()
    wait_until(lambda: "reason=request_timeout" in server.log.read_text("utf-8"), seconds=20)


def test_stream_may_last_longer_than_client_seconds(server):
    stream = RawStream(server)
    stream.head()
    lines, begin = stream.lines(), time.monotonic()
    sent = 0
    while time.monotonic() < begin + 2.5:
        stream.send(text_of_tokens(20))
        sent += 1
        assert next(lines)["line"] == sent
        time.sleep(0.3)
    stream.end()
    assert list(lines) == []
    stream.close()


def test_lines_of_a_disconnected_client_never_run(server):
    [held] = server.send_behind_held()
    ran = server.metric("batch_ads_sum")
    stream = RawStream(server)
    stream.send(*[text_of_tokens(20)] * 10)
    wait_until(lambda: server.metric("queued_ads") == 11, seconds=20)
    stream.close()
    wait_until(lambda: server.metric("queued_ads") == 1, seconds=20)
    server.release()
    assert held.result().status_code == 200
    assert server.send(20).status_code == 200
    assert server.metric("batch_ads_sum") == ran + 2
    assert "reason=client_closed_request" in server.log.read_text("utf-8")


def test_single_ads_run_before_lines_of_a_stream(server):
    calls = server.send_behind_held()
    stream = RawStream(server)
    stream.head()
    stream.send(*[text_of_tokens(60)] * 64)
    wait_until(lambda: server.metric("queued_ads") == 65, seconds=20)
    answered = []
    single = threading.Thread(target=lambda: answered.append(server.send(20)))
    single.start()
    wait_until(lambda: server.metric("queued_ads") == 66, seconds=20)
    server.release()
    single.join(20)
    # Before the single ad ran at most the lines of the batch that was already full.
    assert answered[0].status_code == 200
    assert server.metric("stream_lines_total", status="200") < 40
    stream.end()
    assert len(list(stream.lines())) == 64
    stream.close()
    assert calls[0].result().status_code == 200


def test_shutdown_answers_accepted_lines_and_names_the_next(tiny_folder, tmp_path):
    with faulty_server(tiny_folder, tmp_path, **SETTINGS) as server:
        check_shutdown(server)


def check_shutdown(server):
    [held] = server.send_behind_held()
    stream, idle = RawStream(server), RawStream(server)
    stream.head(), idle.head()
    stream.send(text_of_tokens(20), text_of_tokens(20))
    wait_until(lambda: server.metric("queued_ads") == 3, seconds=20)
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.status("/health/ready") == 503, seconds=20)
    refused = HTTP.post(
        f"{server.address}{ROUTE}", content=b"{}", headers={"Content-Type": "application/x-ndjson"}
    )
    assert refused.status_code == 503
    server.release()
    first, second, last = stream.lines()
    assert (first["line"], second["line"]) == (1, 2)
    assert (last["line"], last["resume"], last["error"]["status"]) == (3, True, 503)
    (end,) = idle.lines()
    assert (end["line"], end["resume"]) == (1, True)
    assert held.result().status_code == 200
    assert server.process.wait(20) == 0
    stream.close(), idle.close()
    assert "Traceback" not in server.log.read_text("utf-8")


def test_memory_is_bounded_for_slow_clients(server):
    """The engine is blocked, and clients send 160 MB without reading."""
    [held] = server.send_behind_held()
    before = peak_megabytes(server.process)
    streams = []
    # 50 KB, and hardly any work for the engine in the end.
    texts = ["Koch" + " " * 1000] * 50
    taken = 0
    for _ in range(8):
        streams.append(stream := RawStream(server))
        stream.socket.settimeout(0.2)
        try:
            for _ in range(400):  # 20 MB
                stream.send(*texts)
                taken += 1
        except TimeoutError:
            pass
    # The system's socket buffers take some; the sender keeps the rest.
    assert taken < 8 * 300
    assert server.metric("queued_ads") <= 1 + 8 * 64
    assert peak_megabytes(server.process) - before < 40
    for stream in streams:
        stream.close()
    server.release()
    assert held.result().status_code == 200
    wait_until(lambda: server.metric("queued_ads") == 0, seconds=60)


def test_client_that_never_reads_is_disconnected(server):
    # Answers fill a small buffer soon.
    stream = RawStream(server, receive_buffer=2048)
    stream.socket.settimeout(60)
    while not is_disconnected(stream):
        pass
    stream.close()
    assert server.send(20).status_code == 200


def is_disconnected(stream):
    try:
        stream.send(*[text_of_tokens(3)] * 100)
    except ConnectionError:
        return True
    return False


def test_empty_lines_and_truncated_json_get_their_error(server):
    stream = RawStream(server)
    stream.head()
    stream.socket.sendall(b'2\r\n\n\n\r\nb\r\n{"text": "K\r\n0\r\n\r\n')
    (error,) = stream.lines()
    assert (error["line"], error["error"]["status"]) == (3, 400)
    stream.close()
