"""Access with and without a key, leaks of keys, and code in checkpoints, on real servers."""

import json
import shutil
from pathlib import Path

import httpx
import pytest

from tests.acceptance.hostile.wire import KEY, Connection, Contract, post
from tests.support.server_process import free_port, running_server, start_server

pytestmark = pytest.mark.server

OTHER = "another-key-of-good-length"
KEYS = f"{KEY},{OTHER}"
HEALTH = ("/health", "/health/live", "/health/ready")
WORK = (
    ("POST", "/classify"),
    ("POST", "/classify/batch"),
    ("POST", "/classify/stream"),
    ("GET", "/model"),
)


def test_unexpected_failure_reveals_no_key(failing_folder: Path, tmp_path: Path) -> None:
    """The traceback is logged; the response says nothing of the cause and is counted as 500."""
    log = tmp_path / "log"
    with running_server(failing_folder, log, api_keys=KEYS, log_format="json") as address:
        with Connection(address) as connection:
            answers = [
                connection.ask(post({"text": "あ"}, x_request_id="job-1")),
                connection.ask(post({"ads": [{"text": "あ"}]}, b"/classify/batch", key=OTHER)),
                connection.ask(post({"text": "Koch"})),
                connection.ask(post({"text": "Koch"}, key="a-wrong-key-of-good-length")),
            ]
            contract = Contract(address)
            for answer in answers[:2]:
                contract.check("POST", "/classify", answer)
            metrics = httpx.get(f"{address}/metrics").text
        documents = [httpx.get(f"{address}{path}").text for path in ("/openapi.json", "/docs", "/")]
    assert [answer.status for answer in answers] == [500, 500, 200, 401]
    assert answers[0].headers["x-request-id"] == "job-1"
    assert 'doppelkopf_requests_total{route="/classify",status="500"} 1.0' in metrics
    assert 'doppelkopf_requests_total{route="/classify",status="499"} 0.0' in metrics
    written = log.read_text(encoding="utf-8")
    assert "Traceback" in written
    shown = [written, metrics, *documents, *(answer.body.decode() for answer in answers)]
    for text in shown:
        assert KEY not in text
        assert OTHER not in text
        assert "a-wrong-key" not in text
    # The log does not contain the ad, and the response not the cause.
    assert "あ" not in written
    assert not any("UNK" in answer.body.decode() for answer in answers)


def test_invalid_key_stops_the_start_and_is_not_logged(tiny_folder: Path, tmp_path: Path) -> None:
    for number, keys in enumerate(("sesame", f"{KEY},with blanks in between", "schlüssel" * 3)):
        log = tmp_path / str(number)
        process = start_server(tiny_folder, log, free_port(), api_keys=keys)
        assert process.wait(timeout=60) == 1
        written = log.read_text(encoding="utf-8")
        assert "DOPPELKOPF_API_KEYS: a key needs at least 16 characters" in written
        assert not any(key in written for key in ("sesame", "blanks", "schlüssel", KEY))


@pytest.mark.parametrize("access", ["open", "key", "off"])
def test_access_to_metrics_and_documentation_follows_the_settings(
    tiny_folder: Path, tmp_path: Path, access: str, request: pytest.FixtureRequest
) -> None:
    if access == "open":  # the default
        _check_access(request.getfixturevalue("server"), access)
        return
    settings = {"api_keys": KEYS, "metrics_access": access, "docs_access": access}
    with running_server(tiny_folder, tmp_path / "log", **settings) as address:
        _check_access(address, access)


def _check_access(address: str, access: str) -> None:
    right = {"Authorization": f"Bearer {OTHER}"}
    with httpx.Client(base_url=address) as client:
        # Probes never need a key, nor does the page, which has a field for the key.
        assert {client.get(path).status_code for path in (*HEALTH, "/", "/page/page.js")} == {200}
        for method, path in WORK:
            assert client.request(method, path, json={}).status_code == 401
            status = client.request(method, path, json={}, headers=right).status_code
            assert status in ((415,) if "stream" in path else (200, 422))
        without, given = (
            [client.get(path, headers=headers).status_code
             for path in ("/metrics", "/openapi.json", "/docs", "/docs/swagger-ui.css")]
            for headers in ({}, right)
        )  # fmt: skip
        page = client.get("/").text
    assert without == {"open": [200] * 4, "key": [401, 401, 404, 404], "off": [404] * 4}[access]
    # A browser cannot send a key when it opens a page, so the page is not served then.
    assert given == {"open": [200] * 4, "key": [200, 200, 404, 404], "off": [404] * 4}[access]
    assert ('href="metrics"' in page, 'href="docs"' in page) == (access == "open",) * 2
    assert 'href="model"' not in page


def test_pickled_weights_are_never_read(tiny_folder: Path, tmp_path: Path) -> None:
    folder, marker = tmp_path / "pickled", tmp_path / "executed"
    shutil.copytree(tiny_folder, folder)
    (folder / "model.safetensors").unlink()
    # An unpickler would run this and create the marker.
    program = f"cposix\nsystem\n(S'touch {marker}'\ntR."
    for name in ("pytorch_model.bin", "model.pt", "model.pkl"):
        (folder / name).write_text(program)
    log = tmp_path / "log"
    process = start_server(folder, log, free_port())
    assert process.wait(timeout=60) == 1
    assert "model.safetensors" in log.read_text(encoding="utf-8").splitlines()[-1]
    assert not marker.exists()


def test_code_in_a_checkpoint_is_never_run(tiny_folder: Path, tmp_path: Path) -> None:
    """Even if the tokenizer's `auto_map` names it. All metrics exist before the first request."""
    folder, marker = tmp_path / "coded", tmp_path / "executed"
    shutil.copytree(tiny_folder, folder)
    for name in ("own", "modeling", "configuration", "tokenization", "sitecustomize"):
        (folder / f"{name}.py").write_text(f"open({str(marker)!r}, 'w')\nclass Own: pass\n")
    config = folder / "tokenizer_config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    content["auto_map"] = {"AutoModel": "own.Own", "AutoTokenizer": ["own.Own", None]}
    config.write_text(json.dumps(content))
    with running_server(folder, tmp_path / "log") as address:
        lines = httpx.get(f"{address}/metrics").text.splitlines()
        assert httpx.post(f"{address}/classify", json={"text": "Koch"}).status_code == 200
    assert not marker.exists()
    for line in (
        'doppelkopf_requests_total{route="/classify",status="415"} 0.0',
        'doppelkopf_request_seconds_bucket{le="0.001",route="/classify"} 0.0',
        'doppelkopf_predictions_total{head="job_category",label="nursing"} 0.0',
        'doppelkopf_confidence_count{head="min_education"} 0.0',
        "doppelkopf_truncated_total 0.0",
    ):
        assert line in lines
