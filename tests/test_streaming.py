import json

import pytest

from tests.serving import App

AD = {"text": "Koch für die Küche im Restaurant"}


@pytest.fixture(scope="module")
def app(checkpoint):
    return App(checkpoint, settings={"max_batch_ads": 8, "max_body_bytes": 4096})


@pytest.fixture(scope="module")
def client(app):
    with app.client() as client:
        yield client


def stream(client, *lines, **headers):
    content = b"\n".join(
        line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines
    )
    headers = {"Content-Type": "application/x-ndjson"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return client.post("/classify/stream", content=content, headers=headers)


def lines_of(response):
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def test_each_line_is_answered_in_order_like_a_single_ad(client):
    ads = [{**AD, "id": str(number), "top_k": 1 + number % 3} for number in range(50)]
    single = client.post("/classify", json=ads[4]).json()
    answers = lines_of(stream(client, *ads))
    assert [answer["line"] for answer in answers] == list(range(1, 51))
    assert [answer["id"] for answer in answers] == [ad["id"] for ad in ads]
    assert answers[4]["job_category"]["label"] == single["job_category"]["label"]
    assert [len(answer["job_category"]["top"]) for answer in answers[:3]] == [1, 2, 3]


BAD = {
    b"{": (400, "The line is not JSON"),
    b'{"text": "\xff"}': (400, "UTF-8"),
    b'{"txet": "Koch"}': (422, "line.text: Field required"),
    b'{"text": "a", "text": "b"}': (422, "line: the field 'text' is there twice"),
    b'{"text": "Koch", "top_k": 0}': (422, "line.top_k: "),
    b"[]": (422, "line: "),
    b'{"text": "%s"}' % (b"a" * 5000): (413, "larger than 4096 bytes"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_line_gets_an_error_of_its_own_and_the_stream_goes_on(client, bad):
    status, word = BAD[bad]
    first, error, last = lines_of(stream(client, AD, bad, AD))
    assert (first["line"], error["line"], last["line"]) == (1, 2, 3)
    assert "job_category" in first
    assert "job_category" in last
    assert error["resume"] is False
    assert error["error"]["status"] == status
    assert word in error["error"]["detail"]
