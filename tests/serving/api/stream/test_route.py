"""Streams through the whole application: each line gets its ad's prediction or its own error."""

import json
import logging

import pytest

from app.core.errors import EngineError, FatalEngineError
from tests.support.application import InProcessApp

AD = {"text": "Koch für die Küche im Restaurant"}
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def app(checkpoint):
    return InProcessApp(checkpoint, settings={"max_batch_ads": 64, "max_body_bytes": 4096})


@pytest.fixture(scope="module")
def client(app):
    with app.client() as client:
        yield client


def stream(client, *lines, **headers):
    content = b"\n".join(
        line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines
    )
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/classify/stream", content=content, headers=NDJSON | given)


def lines_of(response):
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def test_each_line_is_answered_in_order_like_a_single_ad(client):
    ads = [{**AD, "id": str(number), "top_k": 1 + number % 3} for number in range(50)]
    single = client.post("/classify", json=ads[4]).json()
    answers = lines_of(stream(client, *ads))
    assert [answer.pop("line") for answer in answers] == list(range(1, 51))
    assert [answer["id"] for answer in answers] == [ad["id"] for ad in ads]
    assert [len(answer["job_category"]["top"]) for answer in answers[:3]] == [1, 2, 3]
    assert answers[4].keys() == single.keys()
    assert answers[4]["job_category"]["label"] == single["job_category"]["label"]


BAD = {
    b"{": (400, "The line is not JSON"),
    b'{"text": "\xff"}': (400, "The line is not JSON in UTF-8"),
    b'{"txet": "Koch"}': (422, "line.text: Field required"),
    b'{"text": " "}': (422, "line.text: "),
    b'{"text": "a", "text": "b"}': (422, "line: the field 'text' is there twice"),
    b'{"text": "Koch", "top_k": 0}': (422, "line.top_k: "),
    b"[]": (422, "line: "),
    b"[%s1]" % (b"1," * 1500): (422, "line: it has more fields and values"),
    b'{"text": "%s"}' % (b"a" * 5000): (413, "larger than 4096 bytes"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_line_gets_its_own_error(app, client, bad):
    status, word = BAD[bad]
    before = app.metric("stream_lines_total", status=str(status))
    first, error, last = lines_of(stream(client, AD, bad, AD))
    assert (first["line"], error["line"], last["line"]) == (1, 2, 3)
    assert "job_category" in first
    assert "job_category" in last
    assert error["resume"] is False
    assert error["error"]["status"] == status
    assert word in error["error"]["detail"]
    assert app.metric("stream_lines_total", status=str(status)) == before + 1


def test_a_details_length_is_limited(client):
    (error,) = lines_of(stream(client, b'{"%s": 1}' % (b"x" * 3000)))
    assert len(error["error"]["detail"]) < 600


def test_counting_goes_on_where_the_header_says(client):
    answers = lines_of(stream(client, AD, b"", b"{", X_First_Line="1001"))
    assert [answer["line"] for answer in answers] == [1001, 1003]


def test_an_empty_stream_has_an_empty_answer(client):
    assert lines_of(stream(client)) == []


@pytest.mark.parametrize(
    ("headers", "status", "word"),
    [
        ({"Content-Type": "application/json"}, 415, "application/x-ndjson"),
        ({"Content-Encoding": "gzip"}, 415, "Content-Encoding"),
        ({"X-First-Line": "0"}, 422, "X-First-Line"),
        ({"X-First-Line": "two"}, 422, "X-First-Line"),
        ({"X-Request-Timeout-Ms": "500"}, 422, "a stream has no deadline"),
    ],
)
def test_a_stream_that_cannot_begin_is_refused_as_a_whole(client, headers, status, word):
    response = client.post("/classify/stream", content=b"{}", headers=NDJSON | headers)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert word in response.json()["detail"]


@pytest.mark.parametrize("name", ["x-ndjson", "ndjson", "jsonl", "x-jsonlines"])
def test_lines_of_json_have_many_names(client, name):
    headers = {"Content-Type": f"application/{name}; charset=utf-8"}
    response = client.post("/classify/stream", content=json.dumps(AD).encode(), headers=headers)
    assert len(lines_of(response)) == 1


def test_an_engine_failure_affects_only_its_own_line(checkpoint):
    app = InProcessApp(checkpoint)
    sound = app.run

    def run(batch):
        results = sound(batch)
        return [
            EngineError("too large") if encoded.tokens > 200 else result
            for encoded, result in zip(batch, results, strict=True)
        ]

    app.run = run
    with app.client() as client:
        answers = lines_of(stream(client, AD, {"text": "Koch " * 500}, AD))
    assert [answer.get("error", {}).get("status", 200) for answer in answers] == [200, 500, 200]
    assert app.metric("queued_ads") == 0


def test_a_line_that_wants_an_explanation_is_refused(client):
    refused, answered = lines_of(stream(client, {**AD, "explain": True}, {**AD, "explain": False}))
    assert refused["error"]["status"] == 422
    assert refused["error"]["detail"].startswith("line.explain: only POST /classify explains")
    assert answered["job_category"]


def test_a_lost_device_ends_the_stream_resumably(checkpoint):
    def run(batch):
        raise FatalEngineError("The device failed; the service has to restart.")

    app = InProcessApp(checkpoint, run=run)
    with app.client() as client:
        (end,) = lines_of(stream(client, AD, AD))
        assert (end["line"], end["resume"], end["error"]["status"]) == (1, True, 500)
        response = stream(client, AD)
    assert response.status_code == 503


def test_a_stream_logs_one_line_with_ads_and_tokens(client, caplog):
    caplog.set_level(logging.INFO, "app.access")
    answers = lines_of(stream(client, AD, b"{", AD, X_Request_Id="job-9"))
    (line,) = [made.fields for made in caplog.records if made.name == "app.access"]
    assert (line["route"], line["status"], line["ads"]) == ("/classify/stream", 200, 2)
    assert line["tokens"] == answers[0]["tokens"] + answers[2]["tokens"]
    assert "queue_ms" not in line
    assert answers[1]["error"]["request_id"] == "job-9"


def test_the_document_describes_both_kinds_of_line(client):
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/classify/stream"]["post"]
    assert list(operation["requestBody"]["content"]) == ["application/x-ndjson"]
    (described,) = operation["responses"]["200"]["content"].values()
    schemas = document["components"]["schemas"]
    kinds = schemas[described["schema"]["$ref"].rsplit("/", 1)[1]]["anyOf"]
    names = [one["$ref"].rsplit("/", 1)[1] for one in kinds]
    assert names == ["StreamAnswer", "StreamError"]
    assert set(names) <= set(schemas)
