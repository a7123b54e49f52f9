"""Shutdown of a real server by signals."""

import signal

import httpx
import pytest

from tests.support.faulty_engine import HELD, text_of_tokens
from tests.support.faulty_server import faulty_server
from tests.support.polling import wait_until
from tests.support.server_process import free_port, start_server

pytestmark = pytest.mark.server


def test_sigterm_finishes_accepted_requests_and_refuses_new_ones(tiny_folder, tmp_path):
    with faulty_server(tiny_folder, tmp_path) as server:
        ad = {"text": text_of_tokens(20)}
        with httpx.Client(base_url=server.address, timeout=30) as open_before:
            assert open_before.post("/classify", json=ad).status_code == 200
            accepted = server.send_behind_held(20, 21)
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: server.status("/health/ready") == 503, seconds=20)
            refused = open_before.post("/classify", json=ad)
            assert refused.status_code == 503
            assert "shutting down" in refused.json()["detail"]
        with httpx.Client(base_url=server.address, timeout=30) as opened_later:
            assert opened_later.post("/classify", json=ad).status_code == 503
            assert opened_later.get("/health/live").status_code == 200
        server.release()
        assert [call.result().status_code for call in accepted] == [200, 200, 200]
        assert server.process.wait(timeout=20) == 0
    assert "Traceback" not in server.log.read_text(encoding="utf-8")


def test_waiting_requests_get_503_after_the_grace_period(tiny_folder, tmp_path):
    with faulty_server(tiny_folder, tmp_path, grace_seconds="0.5", max_batch_tokens="20") as server:
        held, waiting = server.send_behind_held(20)
        server.process.send_signal(signal.SIGTERM)
        assert waiting.result().status_code == 503
        server.release()
        assert held.result().status_code == 200
        assert server.process.wait(timeout=20) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_the_process_at_once(tiny_folder, tmp_path, number):
    with faulty_server(tiny_folder, tmp_path) as server:
        held = server.pool.submit(server.send, HELD)
        wait_until(lambda: server.metric("queue_seconds_count") == 1, seconds=20)
        server.process.send_signal(number)
        wait_until(lambda: server.status("/health/ready") == 503, seconds=20)
        server.process.send_signal(number)
        assert server.process.wait(timeout=20) == 128 + number
        assert isinstance(held.exception(), httpx.TransportError)


def test_incomplete_request_does_not_delay_the_shutdown(tiny_folder, tmp_path):
    with faulty_server(tiny_folder, tmp_path) as server:
        head = b"POST /classify HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
        with server.connection() as slow:
            slow.sendall(head)
            assert server.status("/health/live") == 200
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(timeout=20) == 0
    assert "Traceback" not in server.log.read_text(encoding="utf-8")


def test_sigterm_while_loading_exits_with_zero(tiny_folder, tmp_path):
    log = tmp_path / "log"
    process = start_server(tiny_folder, log, free_port())
    wait_until(lambda: b"listens on" in log.read_bytes(), seconds=60)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    written = log.read_text(encoding="utf-8")
    assert "ready after" not in written
    assert "Traceback" not in written
