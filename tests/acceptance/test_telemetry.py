"""Metrics and log lines of a real server: before any request, and of each request."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.model.checkpoint import open_checkpoint
from app.serving.metrics import FAILURES, REJECTIONS
from tests.support.server_process import running_server

pytestmark = pytest.mark.server

KEY = "a-key-of-good-length"
WORD = "Geheimwort"
AD = {"text": f"{WORD} für die Küche im Restaurant", "title": WORD}
ROUTES = ("/classify", "/classify/batch")
STAGES = ("tokenize", "queue", "batch")


def scrape(client):
    """Return the value of every sample of /metrics by name and labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def total(samples, name, /, **labels):
    """Return the sum of the samples with this name and these labels."""
    return sum(
        value
        for (found, *pairs), value in samples.items()
        if found == name and labels.items() <= dict(pairs).items()
    )


@pytest.fixture(scope="module")
def server(tiny_folder, tmp_path_factory):
    """A server: its address, its log, and its metrics before the first request."""
    log = tmp_path_factory.mktemp("telemetry") / "log"
    with running_server(
        tiny_folder, log, log_format="json", api_keys=KEY, max_body_bytes="4096"
    ) as address:
        with httpx.Client(base_url=address) as client:
            initial = scrape(client)
        yield address, log, initial


@pytest.fixture
def client(server):
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    with httpx.Client(base_url=server[0], headers=headers, timeout=60) as client:
        yield client


def test_metrics_exist_at_zero_before_the_first_ad(server, client, tiny_folder):
    _, _, samples = server
    document = client.get("/openapi.json").json()
    heads = open_checkpoint(tiny_folder).heads
    expected = [
        ("doppelkopf_predictions_total", ("head", name), ("label", label))
        for name, head in heads.items()
        for label in head.labels
    ]
    expected += [("doppelkopf_confidence_count", ("head", name)) for name in heads]
    expected += [
        ("doppelkopf_requests_total", ("route", route), ("status", status))
        for route in ROUTES
        for status in [*document["paths"][route]["post"]["responses"], "499"]
    ]
    expected += [("doppelkopf_rejected_total", ("reason", reason)) for reason in REJECTIONS]
    expected += [("doppelkopf_engine_failures_total", ("kind", kind)) for kind in FAILURES]
    expected += [(f"doppelkopf_{stage}_seconds_count",) for stage in STAGES]
    for key in expected:
        assert samples.get(key) == 0, key
    assert samples[("doppelkopf_ready",)] == 1
    assert total(samples, "doppelkopf_model_info", name="tiny", device="cpu") == 1


def test_buckets_resolve_a_few_milliseconds(client):
    for _ in range(20):
        client.post("/classify", json=AD).raise_for_status()
    samples = scrape(client)
    for name in (*STAGES, "request"):
        bounds = {
            float(dict(pairs)["le"])
            for (found, *pairs) in samples
            if found == f"doppelkopf_{name}_seconds_bucket"
        }
        assert {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05} < bounds
    within = [
        total(samples, "doppelkopf_batch_seconds_bucket", le=bound) for bound in ("0.001", "0.05")
    ]
    assert within[1] - within[0] > 0


def test_each_request_is_counted_and_logged_once(server, client):
    """Log lines contain neither the ad nor the key."""
    single = {"content": json.dumps(AD)}
    batch = {"content": json.dumps({"ads": [AD] * 3})}
    kinds = [
        ("/classify", single, 200),
        ("/classify/batch", batch, 200),
        ("/classify", {"content": json.dumps({"text": WORD, WORD: WORD})}, 422),
        ("/classify", {"content": f'{{"text": "{WORD}'}, 400),
        ("/classify", {"content": json.dumps({"text": WORD * 2000})}, 413),
        ("/classify", {**single, "headers": {"authorization": f"Bearer {KEY}-{WORD}"}}, 401),
        (f"/{WORD}?{WORD}={WORD}", single, 404),
    ]
    sent = [(f"job-{number}", *kind) for number, kind in enumerate(kinds * 12)]
    begin = scrape(client)

    def send(one):
        identity, path, request, status = one
        headers = {"x-request-id": identity, **request.get("headers", {})}
        response = client.post(path, content=request["content"], headers=headers)
        assert response.status_code == status
        return response

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(send, sent))
    end = scrape(client)

    grown = {key: value - begin.get(key, 0) for key, value in end.items()}
    for path, _, status in kinds:
        route = path if path in ROUTES else "unmatched"
        assert total(grown, "doppelkopf_requests_total", route=route, status=str(status)) == 12
    for route in (*ROUTES, "unmatched"):
        assert total(grown, "doppelkopf_requests_total", route=route) == total(
            grown, "doppelkopf_request_seconds_count", route=route
        )
    assert total(grown, "doppelkopf_tokenize_seconds_count") == 24
    for name in ("queue_seconds_count", "batch_ads_sum"):
        assert total(grown, f"doppelkopf_{name}") == 48
    for head in ("job_category", "min_education"):
        assert total(grown, "doppelkopf_predictions_total", head=head) == 48
        assert total(grown, "doppelkopf_confidence_count", head=head) == 48

    written = server[1].read_text(encoding="utf-8")
    assert WORD not in written
    assert KEY not in written
    lines = [line for line in map(json.loads, written.splitlines()) if line["message"] == "request"]
    ours = [line for line in lines if line["request_id"].startswith("job-")]
    assert sorted(line["request_id"] for line in ours) == sorted(identity for identity, *_ in sent)
    by_id = {line["request_id"]: line for line in ours}
    for (identity, *_), response in zip(sent, responses, strict=True):
        line = by_id[identity]
        assert (line["status"], line["bytes"]) == (response.status_code, len(response.content))
        if response.status_code == 200:
            times = dict(re.findall(r"(\w+);dur=([\d.]+)", response.headers["server-timing"]))
            for stage in STAGES:
                assert line[f"{stage}_ms"] == pytest.approx(float(times[stage]), abs=0.02)
            assert float(times["total"]) <= line["total_ms"]
        else:
            assert line["reason"]
