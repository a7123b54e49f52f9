"""Streams at a real process: clients that disconnect, stall or stay, and a draining service."""

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
    # However slow the machine is, a window of lines finds room.
    "max_queue_seconds": "60",
}


@pytest.fixture(scope="module")
def server(tiny_folder, tmp_path_factory):
    with faulty_server(tiny_folder, tmp_path_factory.mktemp("streams"), **SETTINGS) as server:
        yield server


class Stream:
    """A stream over a bare connection, with both directions in the test's hands."""

    def __init__(self, server: FaultyServer) -> None:
        self.socket: socket.socket = server.connection()
        self.socket.sendall(HEAD)
        self._answer = self.socket.makefile("rb")

    def send(self, *texts: str) -> None:
        body = b"".join(json.dumps({"text": text, "top_k": 1}).encode() + b"\n" for text in texts)
        self.socket.sendall(b"%x\r\n%s\r\n" % (len(body), body))

    def end(self) -> None:
        self.socket.sendall(b"0\r\n\r\n")

    def head(self) -> list[str]:
        lines = iter(lambda: self._answer.readline().decode().strip(), "")
        return [line.lower() for line in lines]

    def lines(self) -> Iterator[dict]:
        """Yield the answer's lines as they come."""
        rest = b""
        while size := int(self._answer.readline(), 16):
            rest += self._answer.read(size)
            self._answer.readline()
            *whole, rest = rest.split(b"\n")
            yield from map(json.loads, whole)
        self._answer.readline()
        assert not rest

    def close(self) -> None:
        self._answer.close()
        self.socket.close()


def test_answers_come_before_the_next_line_is_sent(server):
    stream = Stream(server)
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


def test_a_stalled_client_is_disconnected_and_told_where_to_resume(server):
    stream = Stream(server)
    stream.head()
    stream.send(text_of_tokens(20))
    first, last = stream.lines()
    assert (first["line"], last["line"]) == (1, 2)
    assert (last["resume"], last["error"]["status"]) == (True, 408)
    assert stream.socket.recv(1) == b""
    stream.close()
    wait_until(lambda: "reason=request_timeout" in server.log.read_text("utf-8"), seconds=5)


def test_a_stream_may_outlast_the_time_for_a_line(server):
    stream = Stream(server)
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


def test_a_disconnected_clients_lines_never_run(server):
    [held] = server.send_behind_held()
    ran = server.metric("batch_ads_sum")
    stream = Stream(server)
    stream.send(*[text_of_tokens(20)] * 10)
    wait_until(lambda: server.metric("queued_ads") == 11, seconds=20)
    stream.close()
    wait_until(lambda: server.metric("queued_ads") == 1, seconds=20)
    server.release()
    assert held.result().status_code == 200
    assert server.send(20).status_code == 200
    assert server.metric("batch_ads_sum") == ran + 2
    assert "reason=client_closed_request" in server.log.read_text("utf-8")


def test_single_ads_go_before_the_lines_of_a_stream(server):
    calls = server.send_behind_held()
    stream = Stream(server)
    stream.head()
    stream.send(*[text_of_tokens(60)] * 64)
    wait_until(lambda: server.metric("queued_ads") == 65, seconds=20)
    answered = []
    single = threading.Thread(target=lambda: answered.append(server.send(20)))
    single.start()
    wait_until(lambda: server.metric("queued_ads") == 66, seconds=20)
    server.release()
    single.join(20)
    # Many lines are still to be answered: none was before the single ad but a batch's share.
    assert answered[0].status_code == 200
    assert server.metric("stream_lines_total", status="200") < 40
    stream.end()
    assert len(list(stream.lines())) == 64
    stream.close()
    assert calls[0].result().status_code == 200


def test_a_draining_service_answers_its_lines_and_names_the_next(tiny_folder, tmp_path):
    with faulty_server(tiny_folder, tmp_path, **SETTINGS) as server:
        drain(server)


def drain(server):
    [held] = server.send_behind_held()
    stream, idle = Stream(server), Stream(server)
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
    """Megabytes are offered to an engine that is held, by clients that take nothing."""
    [held] = server.send_behind_held()
    before = peak_megabytes(server.process)
    streams = []
    texts = ["Koch " * 200] * 50  # 50 KB
    taken = 0
    for _ in range(8):
        streams.append(stream := Stream(server))
        stream.socket.settimeout(0.2)
        try:
            for _ in range(400):  # 20 MB
                stream.send(*texts)
                taken += 1
        except TimeoutError:
            pass
    # The system's own buffers take some; the rest waits at the sender.
    assert taken < 8 * 300
    assert server.metric("queued_ads") <= 1 + 8 * 64
    assert peak_megabytes(server.process) - before < 40
    for stream in streams:
        stream.close()
    server.release()
    assert held.result().status_code == 200
    wait_until(lambda: server.metric("queued_ads") == 0, seconds=30)


def test_a_client_that_never_reads_is_cut_off(server):
    stream = Stream(server)
    stream.socket.settimeout(20)
    while not cut_off(stream):
        pass
    stream.close()
    assert server.send(20).status_code == 200


def cut_off(stream):
    try:
        stream.send(*[text_of_tokens(3)] * 100)
    except ConnectionError:
        return True
    return False


def test_an_empty_line_and_a_garbled_end_harm_nothing(server):
    stream = Stream(server)
    stream.head()
    stream.socket.sendall(b'2\r\n\n\n\r\nb\r\n{"text": "K\r\n0\r\n\r\n')
    (error,) = stream.lines()
    assert (error["line"], error["error"]["status"]) == (3, 400)
    stream.close()
