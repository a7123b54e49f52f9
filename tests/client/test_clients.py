"""Both clients, in front of a service in a function."""

import json

import httpx
import pytest
from pydantic import ValidationError

from app.client import (
    AdIn,
    AsyncDoppelkopfClient,
    BusyError,
    DoppelkopfClient,
    FailedError,
    ForeignAnswerError,
    RefusedError,
    Retries,
    StreamError,
    UnreachableError,
)
from tests.support.fake_transport import (
    BrokenBody,
    EitherClient,
    FakeService,
    answer_line,
    error_line,
    problem_response,
)

KEY = "a-key-of-good-length"


@pytest.fixture(params=["blocking", "asynchronous"])
def call(request):
    return EitherClient(request.param)


def test_an_ad_is_asked_for_and_its_answer_is_typed_and_frozen(call):
    fake = FakeService()
    options = {"title": "Küche", "id": "a", "format": "auto", "top_k": 2}
    answer = call(fake, "classify", "Koch", timeout=5, **options)
    assert answer.job_category.label == "nursing_emergency"
    with pytest.raises(ValidationError, match="frozen"):
        answer.tokens = 3
    (request,) = fake.requests
    assert request.headers["x-request-timeout-ms"] == "5000"
    assert json.loads(request.content) == {"text": "Koch", **options}


def test_the_key_is_sent_and_shown_nowhere(call):
    fake = FakeService()
    call(fake, "classify", "Koch", api_key=KEY)
    assert fake.requests[0].headers["authorization"] == f"Bearer {KEY}"
    for kind in (DoppelkopfClient, AsyncDoppelkopfClient):
        client = kind("http://fake", api_key=KEY)
        assert KEY not in repr(client) + str(vars(client))
        assert "http://fake" in repr(client)


@pytest.mark.parametrize("key", ["", "with a blank", "line\nend", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_repeated(key):
    with pytest.raises(ValueError, match="API key") as caught:
        DoppelkopfClient("http://fake", api_key=key)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    ("failures", "pauses"),
    [
        ([(429, "7")], [7.25]),
        ([(503, ""), (503, ""), (429, "1")], [0.25, 0.5, 2.0]),
        ([httpx.ConnectError("refused"), httpx.ReadError("broken")], [0.25, 0.5]),
    ],
)
def test_what_may_go_better_next_time_is_tried_again_as_late_as_was_asked(call, failures, pauses):
    fake = FakeService(
        *(
            one if isinstance(one, Exception) else problem_response(one[0], Retry_After=one[1])
            for one in failures
        )
    )
    assert call(fake, "classify", "Koch").tokens == 44
    assert fake.pauses == pauses
    assert len(fake.requests) == len(failures) + 1


@pytest.mark.parametrize("status", [400, 401, 404, 408, 413, 415, 422])
def test_what_is_refused_is_not_tried_again(call, status):
    fake = FakeService(problem_response(status, "Wrong"))
    with pytest.raises(RefusedError) as caught:
        call(fake, "classify", "Koch")
    error = caught.value
    assert (error.status, error.title) == (status, "Wrong")
    assert (error.detail, error.request_id) == ("Do this.", "r7")
    assert str(error) == f"{status} Wrong: Do this."
    assert len(fake.requests) == 1


@pytest.mark.parametrize("status", [500, 504])
def test_what_failed_is_not_tried_again(call, status):
    fake = FakeService(problem_response(status))
    with pytest.raises(FailedError):
        call(fake, "classify", "Koch")
    assert len(fake.requests) == 1


def test_tries_are_bounded_in_number(call):
    fake = FakeService(*[problem_response(503)] * 9)
    with pytest.raises(BusyError):
        call(fake, "classify", "Koch", retries=Retries(tries=3))
    assert len(fake.requests) == 3


def test_tries_are_bounded_in_time_and_each_is_given_what_is_left(call):
    fake = FakeService(*[problem_response(429, Retry_After="4")] * 9)
    with pytest.raises(BusyError) as caught:
        call(fake, "classify", "Koch", timeout=10)
    assert caught.value.retry_after == 4
    assert fake.pauses == [4.25, 4.5]
    asked = [int(request.headers["x-request-timeout-ms"]) for request in fake.requests]
    assert asked == [10_000, 5750, 1250]


def test_where_nobody_answers_the_address_is_told(call):
    fake = FakeService(*[httpx.ConnectError("refused")] * 2)
    with pytest.raises(UnreachableError, match=r"http://fake/classify: refused") as caught:
        call(fake, "classify", "Koch", retries=Retries(tries=2))
    assert isinstance(caught.value.__cause__, httpx.ConnectError)


def test_what_is_no_doppelkopf_is_said_to_be_none(call):
    with pytest.raises(ForeignAnswerError, match="check the address"):
        call(FakeService(httpx.Response(200, text="<html>")), "classify", "Koch")
    with pytest.raises(FailedError, match=r"502 Bad Gateway: .* a proxy"):
        call(FakeService(httpx.Response(502, text="<html>")), "classify", "Koch")


def test_a_list_goes_in_batches_as_large_as_the_service_takes(call):
    fake = FakeService()
    ads = [{"text": "Koch", "id": str(number)} for number in range(10)]
    assert [one.id for one in call(fake, "classify_many", ads)] == [ad["id"] for ad in ads]
    sizes = [len(json.loads(one.content)["ads"]) for one in fake.requests_to("/classify/batch")]
    assert sizes == [4, 4, 2]


def test_a_batch_is_never_larger_than_a_body_may_be(call):
    fake = FakeService()
    ads = [AdIn(text="ü" * 900, id=str(number)) for number in range(6)] + ["Koch"]
    assert len(call(fake, "classify_many", ads)) == 7
    bodies = [one.content for one in fake.requests_to("/classify/batch")]
    assert max(map(len, bodies)) <= 4096
    assert [len(json.loads(body)["ads"]) for body in bodies] == [2, 2, 3]


def test_a_stream_is_sent_in_parts_that_go_on_counting(call):
    fake = FakeService()
    ads = ["Koch", {"text": "Koch", "id": "b", "top_k": 9}, *[AdIn(text="Koch", id="c")] * 4]
    answers = call(fake, "stream", iter(ads), top_k=5, first_line=101)
    assert [answer.line for answer in answers] == [101, 102, 103, 104, 105, 106]
    assert [answer.id for answer in answers] == [None, "b", "c", "c", "c", "c"]
    parts = fake.requests_to("/classify/stream")
    assert [part.headers["x-first-line"] for part in parts] == ["101", "105"]
    sent = [json.loads(line) for part in parts for line in part.content.splitlines()]
    assert [ad["top_k"] for ad in sent] == [5, 9, 5, 5, 5, 5]


def test_a_part_of_a_stream_is_never_larger_than_a_body_may_be(call):
    fake = FakeService()
    ads = ["a" * 1500] * 3 + ["a" * 9000] + ["Koch"]
    assert [answer.line for answer in call(fake, "stream", ads)] == [1, 2, 3, 4, 5]
    sizes = [len(part.content.splitlines()) for part in fake.requests_to("/classify/stream")]
    assert sizes == [2, 1, 1, 1]


def test_a_stream_takes_no_more_from_its_source_than_a_part(call):
    fake, taken = FakeService(), []

    def source():
        for number in range(10):
            taken.append((number, len(fake.requests_to("/classify/stream"))))
            yield "Koch"

    assert len(call(fake, "stream", source())) == 10
    assert [sent for _, sent in taken] == [0] * 4 + [1] * 4 + [2] * 2


def test_a_broken_stream_goes_on_where_it_broke_and_no_ad_comes_twice(call):
    def breaks(request):
        first, second, third, _ = FakeService.lines(request)
        return httpx.Response(200, stream=BrokenBody(first + second + third[:20]))

    def ends(request):
        return httpx.Response(200, content=FakeService.lines(request)[0])

    fake = FakeService(
        breaks, ends, httpx.ConnectError("refused"), problem_response(503), problem_response(429)
    )
    ads = [{"text": "Koch", "id": str(number)} for number in range(6)]
    answers = call(fake, "stream", ads)
    assert [answer.id for answer in answers] == [ad["id"] for ad in ads]
    assert [answer.line for answer in answers] == [1, 2, 3, 4, 5, 6]
    begun = [part.headers["x-first-line"] for part in fake.requests_to("/classify/stream")]
    assert begun == ["1", "3", "4", "4", "4", "4", "5"]
    # An answer in between makes the pauses short again.
    assert fake.pauses == [0.25, 0.25, 0.5, 1.0, 2.0]


def test_a_service_that_ends_a_stream_gets_the_rest_again(call):
    def drains(request):
        return httpx.Response(
            200, content=FakeService.lines(request)[0] + error_line(2, 503, resume=True)
        )

    answers = call(FakeService(drains), "stream", ["Koch", "Bäcker"])
    assert [answer.line for answer in answers] == [1, 2]
    assert not any(isinstance(answer, StreamError) for answer in answers)


def test_a_line_that_failed_is_yielded_with_its_problem(call):
    def refuses(request):
        lines = FakeService.lines(request)
        return httpx.Response(200, content=lines[0] + error_line(2, 422, resume=False) + lines[2])

    first, error, last = call(FakeService(refuses), "stream", ["Koch", "", "Koch"])
    assert (first.line, last.line) == (1, 3)
    assert isinstance(error, StreamError)
    assert error.error.status == 422


def test_a_stream_that_is_refused_is_not_tried_again(call):
    fake = FakeService(problem_response(401))
    with pytest.raises(RefusedError):
        call(fake, "stream", ["Koch"])
    assert len(fake.requests_to("/classify/stream")) == 1


def test_an_answer_for_another_line_is_no_answer(call):
    fake = FakeService(httpx.Response(200, content=answer_line(7, {})))
    with pytest.raises(ForeignAnswerError, match="Line 7 was answered, not 1"):
        call(fake, "stream", ["Koch"])


def test_letters_that_look_like_a_lines_end_are_none(call):
    fake = FakeService()
    ids = ["a\u2028b", "a\x85b", "a\x1cb\x0b"]
    answers = call(fake, "stream", [{"text": "Koch", "id": one} for one in ids])
    assert [answer.id for answer in answers] == ids


def test_readiness_is_asked_for_once(call):
    for first, expected in (
        ((), True),
        ((problem_response(503),), False),
        ((httpx.ReadError("x"),), False),
    ):
        fake = FakeService(*first)
        assert call(fake, "ready") is expected
        assert len(fake.requests) == 1
    with pytest.raises(RefusedError):
        call(FakeService(problem_response(404)), "ready")


def test_an_explanation_is_asked_for_only_where_it_is_wanted(call):
    fake = FakeService()
    call(fake, "classify", "Koch")
    call(fake, "classify", "Koch", explain=True)
    sent = [json.loads(request.content) for request in fake.requests_to("/classify")]
    assert [ad.get("explain") for ad in sent] == [None, True]


def test_the_model_is_told_as_it_is(call):
    assert call(FakeService(), "model").limits.max_batch_ads == 4
