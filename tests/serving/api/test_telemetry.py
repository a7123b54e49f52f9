"""Telemetry around the real application: metrics, headers and log lines of requests."""

import asyncio
import io
import logging
import re
import threading

import httpx
import pytest
import uvicorn

from app.serving.api.state import state_of
from app.serving.logs import TextFormatter
from tests.support.application import InProcessApp
from tests.support.server_process import free_port

KEY = "a-key-of-good-length"
WORD = "Geheimwort"
AD = {"text": f"{WORD} für die Küche", "title": WORD, "id": WORD}
STAGES = ["tokenize", "queue", "batch", "total"]


def timing(response):
    """Return the milliseconds of a `Server-Timing` header by name, in its order."""
    pairs = re.findall(r"(\w+);dur=([\d.]+)(?:, |$)", response.headers["server-timing"])
    return {name: float(duration) for name, duration in pairs}


@pytest.fixture
def lines(caplog):
    """Give what the access lines hold."""
    caplog.set_level(logging.INFO, "app.access")
    return lambda: [made.fields for made in caplog.records if made.name == "app.access"]


@pytest.fixture(scope="module")
def app(checkpoint):
    return InProcessApp(checkpoint, settings={"max_batch_ads": 8})


@pytest.fixture(scope="module")
def client(app):
    with app.client() as client:
        yield client


def test_a_well_formed_request_id_is_kept(client):
    kept = client.get("/health/live", headers={"X-Request-Id": "job-7:a.b_c"})
    assert kept.headers["x-request-id"] == "job-7:a.b_c"
    for bad in ("", "a b", "x" * 200, "a\u00e4".encode()):
        made = client.get("/health/live", headers={"X-Request-Id": bad}).headers["x-request-id"]
        assert len(made) == 32


def test_requests_are_counted_once_by_route_and_status(checkpoint):
    app = InProcessApp(checkpoint)
    with app.client() as client:
        client.post("/classify", json=AD)
        client.post("/classify/batch", json={"ads": [AD, AD]})
        client.post("/classify", json={})
        for path in ("/a", "/b", "/c?d=e"):
            client.get(path)
        assert app.metric("requests_total", route="/classify", status="200") == 1
        assert app.metric("requests_total", route="/classify", status="422") == 1
        assert app.metric("requests_total", route="/classify/batch", status="200") == 1
        assert app.metric("requests_total", route="unmatched", status="404") == 3
        assert app.metric("request_seconds_count", route="/classify") == 2
        assert app.metric("batch_ads_sum") == 3
        predicted = sum(
            app.metric("predictions_total", head="job_category", label=label)
            for label in checkpoint.heads["job_category"].labels
        )
        assert predicted == app.metric("confidence_count", head="job_category") == 3


@pytest.mark.parametrize(
    ("path", "body"), [("/classify", AD), ("/classify/batch", {"ads": [AD] * 3})]
)
def test_server_timing_has_the_stages_in_order_within_the_total(client, path, body):
    times = timing(client.post(path, json=body))
    assert list(times) == STAGES
    assert all(spent > 0 for spent in times.values())
    assert times["tokenize"] + times["queue"] + times["batch"] <= times["total"] + 0.02


def test_server_timing_without_work_has_the_total_only(client):
    assert list(timing(client.get("/health/live"))) == ["total"]
    assert list(timing(client.post("/classify", json={}))) == ["total"]


@pytest.mark.parametrize("path", ["/classify", "/classify/batch"])
def test_server_timing_is_described_with_a_valid_example(client, path):
    responses = client.get("/openapi.json").json()["paths"][path]["post"]["responses"]
    assert "application/json" in responses["200"]["content"]
    header = responses["200"]["headers"]["Server-Timing"]
    (example,) = header["schema"]["examples"]
    assert re.findall(r"(\w+);dur=[\d.]+", example) == STAGES


def test_a_request_leaves_one_line_with_its_stages(client, lines):
    headers = {"X-Request-Id": "job-7"}
    response = client.post("/classify/batch", json={"ads": [AD] * 2}, headers=headers)
    (line,) = lines()
    assert list(line) == [
        "method", "route", "status", "bytes", "total_ms", "ads", "tokens",
        "tokenize_ms", "queue_ms", "batch_ms",
    ]  # fmt: skip
    assert (line["method"], line["route"]) == ("POST", "/classify/batch")
    assert (line["status"], line["bytes"]) == (200, len(response.content))
    assert line["ads"] == 2
    assert line["tokens"] == sum(one["tokens"] for one in response.json()["results"])
    times = timing(response)
    assert times.pop("total") <= line["total_ms"]
    for stage, spent in times.items():
        assert line[f"{stage}_ms"] == pytest.approx(spent, abs=0.02)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "reason"),
    [
        ("post", "/classify", {"text": WORD, WORD: 1}, 422, "invalid_request"),
        ("post", "/classify/batch", {"ads": [AD] * 9}, 422, "invalid_request"),
        ("get", "/classify", None, 405, "method_not_allowed"),
        ("get", f"/{WORD}?{WORD}=1", None, 404, "not_found"),
    ],
)
def test_a_refused_requests_line_holds_nothing_that_was_sent(
    client, lines, caplog, method, path, body, status, reason
):
    client.request(method, path, json=body)
    (line,) = lines()
    assert (line["status"], line["reason"]) == (status, reason)
    assert WORD not in str(line)
    assert WORD not in caplog.text


def test_an_ad_and_a_key_are_never_written(checkpoint, lines, caplog):
    caplog.set_level(logging.DEBUG, "app")
    app = InProcessApp(checkpoint, settings={"api_keys": KEY})
    with app.client() as client:
        for key in (KEY, f"{KEY}-wrong"):
            headers = {"Authorization": f"Bearer {key}"}
            client.post("/classify", json=AD, headers=headers)
    assert [line["status"] for line in lines()] == [200, 401]
    assert KEY not in caplog.text + str(lines())
    assert WORD not in caplog.text + str(lines())


def test_a_probe_leaves_a_line_only_where_it_fails(checkpoint, lines):
    async def unready():
        await state_of(app.app).service.drain(0)

    app = InProcessApp(checkpoint)
    with app.client() as client:
        for path in ("/health", "/health/live", "/health/ready", "/metrics"):
            assert client.get(path).status_code == 200
        assert lines() == []
        client.portal.call(unready)
        client.get("/health/ready")
        assert [(line["status"], line["reason"]) for line in lines()] == [(503, "not_ready")]


def test_a_timed_out_requests_line_has_its_waiting_time(checkpoint, lines):
    go, began = threading.Event(), threading.Event()

    def run(batch):
        began.set()
        assert go.wait(20)
        return engine(batch)

    app = InProcessApp(checkpoint, settings={"max_queued_ads": 2, "max_batch_ads": 2})
    engine, app.run = app.run, run
    with app.client() as client:
        first = threading.Thread(target=client.post, args=("/classify",), kwargs={"json": AD})
        first.start()
        assert began.wait(10)
        late = client.post("/classify", json=AD, headers={"X-Request-Timeout-Ms": "40"})
        full = client.post("/classify/batch", json={"ads": [AD] * 2})
        go.set()
        first.join(10)
    waited, refused, answered = lines()
    assert (waited["status"], waited["reason"]) == (504, "deadline_exceeded")
    assert 0 < timing(late)["queue"] <= waited["queue_ms"] <= waited["total_ms"]
    assert "batch_ms" not in waited
    assert (refused["status"], refused["reason"]) == (429, "queue_full")
    assert (refused["ads"], refused["tokens"]) == (2, 0)
    assert list(timing(full)) == ["total"]
    assert answered["status"] == 200
    assert answered["batch_ms"] >= 40


def test_a_failed_batch_is_logged_once_with_its_request_ids(checkpoint, lines, caplog):
    def run(batch):
        raise RuntimeError("the inside")

    app = InProcessApp(checkpoint, run=run)
    with app.client() as client:
        client.post("/classify", json=AD, headers={"X-Request-Id": "job-8"})
    (failed,) = [made for made in caplog.records if made.levelno >= logging.ERROR]
    assert "requests job-8" in failed.getMessage()
    assert failed.exc_info[0] is RuntimeError
    (line,) = lines()
    assert (line["status"], line["reason"]) == (500, "inference_failed")
    assert line["batch_ms"] > 0


def test_an_unexpected_failure_is_counted_once_as_500(checkpoint, lines):
    # An answer that is none: what comes after the engine fails.
    app = InProcessApp(checkpoint, run=lambda batch: [None] * len(batch))
    with app.client() as client:
        response = client.post("/classify", json=AD, headers={"X-Request-Id": "job-9"})
        assert response.status_code == 500
        assert response.headers["x-request-id"] == response.json()["request_id"] == "job-9"
    assert app.metric("requests_total", route="/classify", status="500") == 1
    assert app.metric("requests_total", route="/classify", status="499") == 0
    (line,) = lines()
    assert (line["status"], line["reason"]) == (500, "unexpected")


def test_the_servers_traceback_has_the_request_id(checkpoint):
    app = InProcessApp(checkpoint, run=lambda batch: [None] * len(batch))
    port, written = free_port(), io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(TextFormatter())

    async def main():
        server = uvicorn.Server(uvicorn.Config(app.app, port=port, log_config=None))
        serving = asyncio.create_task(server.serve())
        while not (server.started and state_of(app.app).service):  # noqa: ASYNC110  plain attributes
            await asyncio.sleep(0.01)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for number in range(3):
                headers = {"X-Request-Id": f"job-{number}"}
                await client.post("/classify", json=AD, headers=headers)
        server.should_exit = True
        await serving

    logging.getLogger("uvicorn.error").addHandler(handler)
    try:
        asyncio.run(main())
    finally:
        logging.getLogger("uvicorn.error").removeHandler(handler)
    found = re.findall(r"Exception in ASGI application request_id=(\S+)", written.getvalue())
    assert found == ["job-0", "job-1", "job-2"], written.getvalue()
    assert WORD not in written.getvalue()
