import json

import pytest

from app.bench.target import LoadTarget
from app.core.errors import StartupError
from app.core.types import Ad

ADS = [Ad("Koch", "Küche"), Ad("Pflege")]


def bodies(target: LoadTarget, batch: int | None) -> list[dict]:
    requests = target.requests(ADS * 4, batch, seed=1)
    assert all(one.ads == (batch or 1) for one in requests)
    return [json.loads(one.content.partition(b"\r\n\r\n")[2]) for one in requests]


def test_each_ad_is_one_request():
    assert bodies(LoadTarget("http://localhost:8000"), None) == [
        {"text": "Koch", "title": "Küche"}, {"text": "Pflege"},
    ] * 4  # fmt: skip


def test_batches_have_one_size_and_hold_every_ad():
    found = bodies(LoadTarget("http://localhost:8000"), 3)
    assert [len(body["ads"]) for body in found] == [3, 3, 3]
    [large] = bodies(LoadTarget("http://localhost:8000"), 100)
    assert len(large["ads"]) == 100
    # Eight ads, four of them this one, are repeated twelve and a half times.
    assert 48 <= large["ads"].count({"text": "Pflege"}) <= 52


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://localhost:8000", b"POST /classify HTTP/1.1", b"host: localhost:8000"),
        ("https://ads.example/v1/", b"POST /v1/classify HTTP/1.1", b"host: ads.example"),
    ],
)
def test_requests_have_the_path_and_host_of_the_address(url, line, host):
    [request] = LoadTarget(url).requests(ADS[:1], None, 1)
    assert request.content.split(b"\r\n")[:2] == [line, host]


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "ftp://a", "http://", "http://a:b", "http://u@a", "http://a?x=1",
     "http://a#b", "http://[", "http://ä"],
)  # fmt: skip
def test_a_malformed_address_is_refused(url):
    with pytest.raises(StartupError, match="has to be like http://localhost:8000"):
        LoadTarget(url)


def test_a_key_with_a_line_break_is_refused():
    """It would add a header of its own to each request."""
    with pytest.raises(StartupError, match="DOPPELKOPF_API_KEY") as error:
        LoadTarget("http://localhost", "secret\r\nx: y")
    assert "secret" not in str(error.value)
