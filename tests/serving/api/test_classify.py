import threading

import pytest

from tests.support.application import InProcessApp
from tests.support.held_engine import HeldEngine
from tests.support.problems import assert_problem

AD = {"text": "Koch für die Küche im Restaurant"}


@pytest.fixture(scope="module")
def app(checkpoint):
    return InProcessApp(checkpoint, settings={"max_batch_ads": 8, "max_body_bytes": 4096})


@pytest.fixture(scope="module")
def client(app):
    with app.client() as client:
        yield client


def test_classify_answers_with_both_heads(client, checkpoint):
    body = client.post("/classify", json={**AD, "id": "a1", "top_k": 2}).json()
    assert body["id"] == "a1"
    for name in ("job_category", "min_education"):
        head = body[name]
        assert len(head["top"]) == 2
        assert head["top"][0] == {"label": head["label"], "probability": head["probability"]}
        assert head["label"] in checkpoint.heads[name].labels
        assert head["top"][0]["probability"] >= head["top"][1]["probability"]
    assert (body["windows"], body["truncated"]) == (1, False)
    assert body["tokens"] > 5
    assert body["model"] == {"name": "tiny", "revision": checkpoint.revision}


def test_top_k_above_the_labels_returns_them_all(client):
    top = client.post("/classify", json={**AD, "top_k": 1000}).json()["job_category"]["top"]
    assert len(top) == 3
    assert sum(one["probability"] for one in top) == pytest.approx(1, abs=1e-5)


def test_a_batch_answers_like_single_requests_in_order(client):
    texts = ["Koch", "Python im Team " * 40, "Pflegefachkraft Station", "Studium mit Master"]
    singles = [client.post("/classify", json={"text": text}).json() for text in texts]
    batch = client.post("/classify/batch", json={"ads": [{"text": text} for text in texts]}).json()
    for single, one in zip(singles, batch["results"], strict=True):
        for head in ("job_category", "min_education"):
            assert one[head]["label"] == single[head]["label"]
            assert one[head]["probability"] == pytest.approx(single[head]["probability"], abs=1e-5)
        assert one["tokens"] == single["tokens"]


def test_a_long_ad_is_read_in_windows_and_marked_truncated(client):
    body = client.post("/classify", json={"text": "Koch für die Küche " * 150}).json()
    assert (body["windows"], body["truncated"]) == (4, True)


def test_the_title_changes_the_answer(client):
    plain = client.post("/classify", json=AD).json()
    titled = client.post("/classify", json={**AD, "title": "Entwickler für Software"}).json()
    assert titled["tokens"] > plain["tokens"]
    assert titled["job_category"]["top"] != plain["job_category"]["top"]


def test_an_invalid_ad_of_a_batch_is_named_by_index(client):
    response = client.post("/classify/batch", json={"ads": [AD, {"text": ""}]})
    assert assert_problem(response, 422, "Invalid request").startswith("body.ads.1.text: ")


@pytest.mark.parametrize("count", [0, 9])
def test_an_empty_batch_and_one_above_the_limit_are_refused(client, count):
    response = client.post("/classify/batch", json={"ads": [AD] * count})
    assert "body.ads" in assert_problem(response, 422, "Invalid request")


def test_html_is_answered_as_its_text_on_every_route(client):
    plain = {"text": "Koch für die Küche", "title": "Koch & Kellner"}
    html = {"text": "<p>Koch f&uuml;r</p><ul><li>die Küche</ul>", "title": "Koch &amp; Kellner"}
    expected = client.post("/classify", json=plain).json()
    for form in ("html", "auto"):
        assert client.post("/classify", json={**html, "format": form}).json() == expected
    ads = [{**html, "format": "html"}, plain, html]
    batch = client.post("/classify/batch", json={"ads": ads}).json()["results"]
    assert [one["tokens"] for one in batch[:2]] == [expected["tokens"]] * 2
    assert batch[2]["tokens"] > expected["tokens"]
    as_text = client.post("/classify", json={**plain, "format": "text"}).json()
    assert as_text == expected


def test_html_without_text_and_an_unknown_format_are_refused(client):
    empty = {"text": "<script>Koch</script>", "format": "html"}
    detail = assert_problem(client.post("/classify", json=empty), 422, "Invalid request")
    assert "ad 1 of the request shows no text" in detail
    ads = [AD, {**AD, "format": "auto"}, empty]
    detail = assert_problem(
        client.post("/classify/batch", json={"ads": ads}), 422, "Invalid request"
    )
    assert "ad 3 of the request" in detail
    wrong = client.post("/classify", json={**AD, "format": "markdown"})
    assert "body.format" in assert_problem(wrong, 422, "Invalid request")


@pytest.fixture
def held(checkpoint):
    app = InProcessApp(checkpoint, settings={"max_queued_ads": 3, "max_batch_ads": 3})
    app.run = HeldEngine(app.run)
    with app.client() as client:
        yield app, client
        app.run.go.set()


def test_a_passed_deadline_gets_504_and_its_work_is_dropped(held):
    app, client = held
    first = threading.Thread(target=client.post, args=("/classify",), kwargs={"json": AD})
    first.start()
    assert app.run.began.acquire(timeout=10)
    late = client.post("/classify", json=AD, headers={"X-Request-Timeout-Ms": "30"})
    assert_problem(late, 504, "Deadline exceeded")
    assert app.metric("queued_ads") == 1
    app.run.go.set()
    first.join(10)
    assert app.run.batches == [1]


def test_a_full_queue_gets_429_with_retry_after(held):
    app, client = held
    first = threading.Thread(
        target=client.post, args=("/classify/batch",), kwargs={"json": {"ads": [AD] * 3}}
    )
    first.start()
    assert app.run.began.acquire(timeout=10)
    refused = client.post("/classify", json=AD)
    assert_problem(refused, 429, "Too many requests")
    assert int(refused.headers["retry-after"]) >= 1
    assert app.metric("rejected_total", reason="queue_full") == 1
    app.run.go.set()
    first.join(10)
    assert client.post("/classify", json=AD).status_code == 200
