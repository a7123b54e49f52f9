import json

import httpx
import pytest

from app.client import (
    AdIn,
    DoppelkopfClient,
    FailedError,
    ForeignAnswerError,
    Retries,
    UnreachableError,
)
from tests.support.fake_transport import FakeService


def test_api_key_is_sent_as_a_bearer_token(call):
    fake = FakeService()
    call(fake, "classify", "Koch", api_key="a-key-of-good-length")
    assert fake.requests[0].headers["authorization"] == "Bearer a-key-of-good-length"


@pytest.mark.parametrize("key", ["", "with a blank", "line\nend", "schlüssel"])
def test_invalid_api_key_is_rejected_without_showing_it(key):
    with pytest.raises(ValueError, match="API key") as caught:
        DoppelkopfClient("http://fake", api_key=key)
    assert not key or key not in str(caught.value)


def test_batches_hold_as_many_ads_as_the_service_allows(call):
    fake = FakeService()
    ads = [{"text": "Koch", "id": str(number)} for number in range(10)]
    assert [one.id for one in call(fake, "classify_many", ads)] == [ad["id"] for ad in ads]
    sizes = [len(json.loads(one.content)["ads"]) for one in fake.requests_to("/classify/batch")]
    assert sizes == [4, 4, 2]


def test_batches_are_not_larger_than_the_body_limit(call):
    fake = FakeService()
    ads = [AdIn(text="ü" * 900, id=str(number)) for number in range(6)] + ["Koch"]
    assert len(call(fake, "classify_many", ads)) == 7
    bodies = [one.content for one in fake.requests_to("/classify/batch")]
    assert max(map(len, bodies)) <= 4096
    assert [len(json.loads(body)["ads"]) for body in bodies] == [2, 2, 3]


def test_unreachable_error_names_the_address(call):
    fake = FakeService(*[httpx.ConnectError("refused")] * 2)
    with pytest.raises(UnreachableError, match=r"http://fake/classify: refused") as caught:
        call(fake, "classify", "Koch", retries=Retries(tries=2))
    assert isinstance(caught.value.__cause__, httpx.ConnectError)


def test_answers_of_other_servers_are_recognised(call):
    with pytest.raises(ForeignAnswerError, match="check the address"):
        call(FakeService(httpx.Response(200, text="<html>")), "classify", "Koch")
    with pytest.raises(FailedError, match=r"502 Bad Gateway: .* a proxy"):
        call(FakeService(httpx.Response(502, text="<html>")), "classify", "Koch")


def test_unicode_line_separators_do_not_split_lines(call):
    fake = FakeService()
    ids = ["a\u2028b", "a\x85b", "a\x1cb\x0b"]
    answers = call(fake, "stream", [{"text": "Koch", "id": one} for one in ids])
    assert [answer.id for answer in answers] == ids
