"""The command `doppelkopf serve` in a process of its own."""

import shutil
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.polling import wait_until
from tests.support.repository import shared_ads
from tests.support.server_process import free_port, running_server, start_server, startup_error


@pytest.fixture(scope="module")
def server(tiny_folder, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "log"
    with running_server(tiny_folder, log) as address:
        yield address


@pytest.mark.server
def test_ads_in_shared_batches_get_the_same_answers(server):
    ads = shared_ads(96) or [{"text": f"Koch {i} für die Küche " * (i % 9 + 1)} for i in range(96)]
    bodies = [{"text": ad["text"], "title": ad.get("title")} for ad in ads]
    with httpx.Client(base_url=server, timeout=60) as client:
        alone = [client.post("/classify", json=body).json() for body in bodies[:10]]
        before = _batches(client)
        with ThreadPoolExecutor(32) as pool:
            together = list(pool.map(lambda body: client.post("/classify", json=body), bodies))
        batches, batched = (now - then for now, then in zip(_batches(client), before, strict=True))
    assert all(response.status_code == 200 for response in together)
    for single, response in zip(alone, together[:10], strict=True):
        answer = response.json()
        for head in ("job_category", "min_education"):
            assert answer[head]["label"] == single[head]["label"]
            assert answer[head]["probability"] == pytest.approx(
                single[head]["probability"], abs=1e-3
            )
    assert batched == 96
    assert batches < 96, "no batch held more than one ad"


def _batches(client: httpx.Client) -> tuple[float, float]:
    """Return how many batches ran and how many ads they held."""
    lines = dict(
        line.rsplit(" ", 1)
        for line in client.get("/metrics").text.splitlines()
        if not line.startswith("#")
    )
    return (
        float(lines["doppelkopf_batch_ads_count"]),
        float(lines["doppelkopf_batch_ads_sum"]),
    )


@pytest.mark.server
def test_damaged_checkpoint_ends_the_start_with_one_sentence(tiny_folder, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_folder, damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "model.safetensors" in startup_error(damaged, tmp_path / "log")


@pytest.mark.server
def test_bad_setting_ends_the_start_with_one_sentence(tiny_folder, tmp_path):
    assert "DOPPELKOPF_MAX_WINDWS" in startup_error(tiny_folder, tmp_path / "log", max_windws="3")
    assert "DEVICE" in startup_error(tiny_folder, tmp_path / "log", device="abacus")


@pytest.mark.server
def test_client_key_on_the_server_logs_a_warning(tiny_folder, tmp_path):
    log = tmp_path / "log"
    with running_server(tiny_folder, log, api_key="a-key-of-good-length"):
        pass
    first = log.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("DOPPELKOPF_API_KEY is what clients send")


@pytest.mark.server
def test_occupied_port_ends_the_start_with_one_sentence(tiny_folder, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}" in startup_error(tiny_folder, tmp_path / "log", port=port)


@pytest.mark.server
def test_server_is_live_before_ready_and_sigterm_exits_zero(tiny_folder, tmp_path):
    port, log = free_port(), tmp_path / "log"
    process = start_server(tiny_folder, log, port)
    statuses = []

    def ready() -> bool:
        try:
            statuses.append(
                tuple(
                    httpx.get(f"http://127.0.0.1:{port}/health/{name}").status_code
                    for name in ("live", "ready")
                )
            )
        except httpx.TransportError:
            return False
        return statuses[-1] == (200, 200)

    wait_until(ready, seconds=60)
    assert (200, 503) in statuses
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert "Traceback" not in log.read_text(encoding="utf-8")
