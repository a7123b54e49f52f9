"""What a request has to pass before its endpoint: key, body, deadline."""

import json

import pytest

from tests.support.application import InProcessApp
from tests.support.problems import assert_problem

KEY = "a-key-of-good-length"
AD = {"text": "Koch für die Küche im Restaurant"}


@pytest.fixture(scope="module")
def app(checkpoint):
    return InProcessApp(checkpoint, settings={"max_batch_ads": 8, "max_body_bytes": 4096})


@pytest.fixture(scope="module")
def client(app):
    with app.client() as client:
        yield client


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b'{"text": ', "line 1 column 10"),
        (b'{"text": "a", "top_k": NaN}', "number"),
        ('{"text": "a"}'.encode("utf-16"), "UTF-8"),
        (b'{"text": "\xff"}', "UTF-8"),
        (b'{"text": ' + b"[" * 995, "deep"),
        (b"", "line 1 column 1"),
    ],
)
def test_a_body_that_is_not_json_gets_400_with_the_reason(client, content, word):
    response = client.post(
        "/classify", content=content, headers={"content-type": "application/json"}
    )
    assert word in assert_problem(response, 400, "Malformed body")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.text"),
        ({"text": " \n"}, "body.text"),
        ({"text": "\x85\ufeff\u2003"}, "body.text"),
        ({"text": 3}, "body.text"),
        ({"text": "a", "topk": 3}, "body.topk"),
        ({"text": "a", "top_k": "3"}, "body.top_k"),
        ({"text": "a", "top_k": 0}, "body.top_k"),
        ({"text": "a", "top_k": True}, "body.top_k"),
        ({"text": "a", "title": ["b"]}, "body.title"),
        ({"text": "a", "id": 7}, "body.id"),
        ([], "body"),
    ],
)
def test_an_invalid_body_gets_422_that_names_the_field(client, body, field):
    detail = assert_problem(client.post("/classify", json=body), 422, "Invalid request")
    assert detail.startswith(f"{field}: ")


def test_a_lone_surrogate_gets_422(client):
    response = client.post(
        "/classify", content=rb'{"text": "\ud800"}', headers={"content-type": "application/json"}
    )
    assert_problem(response, 422, "Invalid request")


@pytest.mark.parametrize("value", ["0", "-1", "soon", "99999999"])
def test_a_malformed_timeout_gets_422(client, value):
    response = client.post("/classify", json=AD, headers={"X-Request-Timeout-Ms": value})
    assert "X-Request-Timeout-Ms" in assert_problem(response, 422, "Invalid request")


def test_a_body_above_the_limit_gets_413_announced_or_not(client):
    large = json.dumps({"text": "a" * 5000}).encode()
    headers = {"content-type": "application/json"}
    announced = client.post("/classify", content=large, headers=headers)
    assert "4096" in assert_problem(announced, 413, "Body too large")
    chunks = (large[start : start + 1000] for start in range(0, len(large), 1000))
    streamed = client.post("/classify", content=chunks, headers=headers)
    assert_problem(streamed, 413, "Body too large")


def test_keys_guard_all_routes_but_health(checkpoint):
    app = InProcessApp(checkpoint, settings={"api_keys": f"{KEY},another-key-of-length"})
    with app.client() as client:
        detail = assert_problem(client.post("/classify", json=AD), 401, "Unauthorized")
        assert "Bearer" in detail
        wrong = {"Authorization": "Bearer wrong-key-of-length"}
        response = client.post("/classify", json=AD, headers=wrong)
        assert_problem(response, 401, "Unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"
        assert KEY not in response.text
        for key in (KEY, "another-key-of-length"):
            right = {"Authorization": f"Bearer {key}"}
            assert client.post("/classify", json=AD, headers=right).status_code == 200
            assert client.get("/model", headers=right).status_code == 200
        assert_problem(client.get("/model"), 401, "Unauthorized")
        for path in ("/health", "/health/live", "/health/ready"):
            assert client.get(path).status_code == 200


def test_query_parameters_are_refused(client):
    response = client.post("/classify?top_k=3", json=AD)
    assert assert_problem(response, 422, "Invalid request").startswith("query.top_k: ")


def test_only_postings_may_have_many_values(client):
    """Each of the eight items that these settings allow may have ten values, a posting 200."""
    posting = {"@type": "JobPosting", "title": "Koch", "skills": [1] * 1300}
    assert client.post("/classify/jobposting", json=posting).status_code == 200
    detail = assert_problem(client.post("/classify", json=posting), 422, "Invalid request")
    assert "more fields and values" in detail
