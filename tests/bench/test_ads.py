"""Files of ads for a load."""

import json

import pytest

from app.bench.ads import MOST_ADS, read_ads
from app.bench.target import Target
from app.core.errors import DataError, StartupError
from app.core.types import Ad
from tests.support.ad_files import write_ads

ROWS = [{"text": "Koch", "title": "Küche"}, {"text": "Pflege", "title": ""}]
ADS = [Ad("Koch", "Küche"), Ad("Pflege")]


@pytest.mark.parametrize("name", ["ads.jsonl", "ads.csv", "ads.parquet"])
def test_text_and_title_are_read(tmp_path, name):
    assert read_ads(write_ads(tmp_path / name, ROWS)) == ADS


def test_the_first_of_a_large_file_are_enough(tmp_path):
    file = tmp_path / "ads.jsonl"
    file.write_text('{"text": "Koch"}\n' * (MOST_ADS + 5) + "broken")
    assert len(read_ads(file)) == MOST_ADS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no ads"),
        ('{"text": "a"}\n{"body": "b"}', "row 2, column 'text': holds no text"),
        ('{"text": "a"}\n{"text": " "}', "row 2, column 'text': holds no text"),
    ],
)
def test_a_file_without_ads_is_refused_with_its_place(tmp_path, content, message):
    file = tmp_path / "ads.jsonl"
    file.write_text(content)
    with pytest.raises(DataError, match=message):
        read_ads(file)


def bodies(target: Target, batch: int | None) -> list[dict]:
    requests = target.requests(ADS * 4, batch, seed=1)
    assert all(one.ads == (batch or 1) for one in requests)
    return [json.loads(one.content.partition(b"\r\n\r\n")[2]) for one in requests]


def test_each_ad_becomes_a_request():
    assert bodies(Target("http://localhost:8000"), None) == [
        {"text": "Koch", "title": "Küche"}, {"text": "Pflege"},
    ] * 4  # fmt: skip


def test_batches_are_of_one_size_and_hold_every_ad():
    found = bodies(Target("http://localhost:8000"), 3)
    assert [len(body["ads"]) for body in found] == [3, 3, 3]
    [large] = bodies(Target("http://localhost:8000"), 100)
    assert len(large["ads"]) == 100
    # Eight ads, four of them this one, go round twelve times and a half.
    assert 48 <= large["ads"].count({"text": "Pflege"}) <= 52


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://localhost:8000", b"POST /classify HTTP/1.1", b"host: localhost:8000"),
        ("https://ads.example/v1/", b"POST /v1/classify HTTP/1.1", b"host: ads.example"),
    ],
)
def test_the_requests_go_to_the_named_address(url, line, host):
    [request] = Target(url).requests(ADS[:1], None, 1)
    assert request.content.split(b"\r\n")[:2] == [line, host]


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8000", "ftp://a", "http://", "http://a:b", "http://u@a", "http://a?x=1",
     "http://a#b", "http://[", "http://ä"],
)  # fmt: skip
def test_what_is_no_address_is_refused(url):
    with pytest.raises(StartupError, match="has to be like http://localhost:8000"):
        Target(url)


def test_a_key_cannot_smuggle_a_header():
    with pytest.raises(StartupError, match="DOPPELKOPF_API_KEY") as error:
        Target("http://localhost", "secret\r\nx: y")
    assert "secret" not in str(error.value)
