"""Faults of the engine in a real server."""

import pytest

from tests.support.faulty_engine import (
    BROKEN,
    DEVICE_LOST,
    EXITS,
    HANGS,
    KILLS_THREAD,
    NEVER_FITS,
    text_of_tokens,
)
from tests.support.faulty_server import faulty_server
from tests.support.polling import wait_until
from tests.support.server_process import HTTP

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def server(tiny_folder, tmp_path_factory):
    """A server whose batches may have 1024 tokens but fail above 300."""
    folder = tmp_path_factory.mktemp("faulty")
    with faulty_server(tiny_folder, folder, memory=300, max_batch_tokens="1024") as server:
        yield server


def test_failed_batch_fails_only_its_requests(server):
    held, broken = server.send_behind_held(BROKEN)
    server.release()
    assert held.result().status_code == 200
    assert broken.result().status_code == 500
    assert "inside" not in broken.result().text
    assert server.send(20).status_code == 200
    assert server.status("/health/ready") == 200
    assert server.metric("engine_failures_total", kind="batch") == 1


def test_batch_out_of_memory_is_halved_until_it_fits(server):
    largest = server.metric("batch_tokens_bucket", le="512.0"), server.metric("batch_tokens_count")
    ads = [{"text": text_of_tokens(20 + number)} for number in range(30)]
    together = HTTP.post(f"{server.address}/classify/batch", json={"ads": ads})
    alone = HTTP.post(f"{server.address}/classify", json=ads[7]).json()
    assert together.status_code == 200
    answer = together.json()["results"][7]
    for head in ("job_category", "min_education"):
        assert answer[head]["label"] == alone[head]["label"]
        assert answer[head]["probability"] == pytest.approx(alone[head]["probability"], abs=1e-3)
    batches = server.metric("batch_tokens_count") - largest[1]
    small = server.metric("batch_tokens_bucket", le="512.0") - largest[0]
    assert small < batches, "no batch was too large for the memory"


def test_ad_that_never_fits_fails_alone(server):
    held, large, neighbour = server.send_behind_held(NEVER_FITS, 30)
    server.release()
    assert large.result().status_code == 500
    assert "memory" in large.result().json()["detail"]
    assert held.result().status_code == neighbour.result().status_code == 200
    assert server.metric("engine_failures_total", kind="ad") == 1


@pytest.mark.parametrize(
    ("fault", "hang_seconds", "word"),
    [
        (DEVICE_LOST, "600", "device-side assert"),
        (HANGS, "1", "does not come back"),
        (EXITS, "600", "ended from inside"),
    ],
)
def test_lost_engine_answers_500_and_ends_the_process(
    tiny_folder, tmp_path, fault, hang_seconds, word
):
    # A small token budget, so that the other ads wait for later batches.
    options = {"hang_seconds": hang_seconds, "max_batch_tokens": "20"}
    with faulty_server(tiny_folder, tmp_path, **options) as server:
        held, *others = server.send_behind_held(fault, 20, 20, 20)
        server.release()
        assert held.result().status_code == 200
        assert {one.result().status_code for one in others} == {500}
        assert server.process.wait(timeout=20) == 1
    written = server.log.read_text(encoding="utf-8")
    assert "the engine is lost" in written
    assert word in written


def test_dead_engine_thread_ends_the_process(tiny_folder, tmp_path):
    with faulty_server(tiny_folder, tmp_path) as server:
        assert server.send(KILLS_THREAD).status_code == 200
        wait_until(lambda: b"killed" in server.log.read_bytes(), seconds=20)
        # The thread ends as soon as it gets a batch.
        assert server.send(20).status_code == 500
        assert server.process.wait(timeout=20) == 1
    assert "a thread of the engine has ended" in server.log.read_text(encoding="utf-8")
