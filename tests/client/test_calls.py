import json

import httpx
import pytest
from pydantic import ValidationError

from app.client import BusyError, FailedError, RefusedError, Retries
from tests.support.fake_transport import FakeService, problem_response


def test_classify_returns_a_typed_immutable_answer(call):
    fake = FakeService()
    options = {"title": "Küche", "id": "a", "format": "auto", "top_k": 2}
    answer = call(fake, "classify", "Koch", timeout=5, **options)
    assert answer.job_category.label == "nursing_emergency"
    with pytest.raises(ValidationError, match="frozen"):
        answer.tokens = 3
    (request,) = fake.requests
    assert request.headers["x-request-timeout-ms"] == "5000"
    assert json.loads(request.content) == {"text": "Koch", **options}


def test_explain_is_sent_only_if_true(call):
    fake = FakeService()
    call(fake, "classify", "Koch")
    call(fake, "classify", "Koch", explain=True)
    sent = [json.loads(request.content) for request in fake.requests_to("/classify")]
    assert [ad.get("explain") for ad in sent] == [None, True]


def test_model_returns_the_description_of_the_service(call):
    assert call(FakeService(), "model").limits.max_batch_ads == 4


def test_ready_sends_one_request_without_retries(call):
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


@pytest.mark.parametrize(
    ("failures", "pauses"),
    [
        ([(429, "7")], [7.25]),
        ([(503, ""), (503, ""), (429, "1")], [0.25, 0.5, 2.0]),
        ([httpx.ConnectError("refused"), httpx.ReadError("broken")], [0.25, 0.5]),
    ],
)
def test_rejections_and_broken_connections_are_retried(call, failures, pauses):
    """Pauses are the jitter's bound plus the seconds of `Retry-After`."""
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
def test_refused_request_is_not_retried(call, status):
    fake = FakeService(problem_response(status, "Wrong"))
    with pytest.raises(RefusedError) as caught:
        call(fake, "classify", "Koch")
    error = caught.value
    assert (error.status, error.title) == (status, "Wrong")
    assert (error.detail, error.request_id) == ("Do this.", "r7")
    assert str(error) == f"{status} Wrong: Do this."
    assert len(fake.requests) == 1


@pytest.mark.parametrize("status", [500, 504])
def test_failed_request_is_not_retried(call, status):
    fake = FakeService(problem_response(status))
    with pytest.raises(FailedError):
        call(fake, "classify", "Koch")
    assert len(fake.requests) == 1


def test_number_of_attempts_is_limited(call):
    fake = FakeService(*[problem_response(503)] * 9)
    with pytest.raises(BusyError):
        call(fake, "classify", "Koch", retries=Retries(tries=3))
    assert len(fake.requests) == 3


def test_each_attempt_is_sent_the_remaining_time(call):
    fake = FakeService(*[problem_response(429, Retry_After="4")] * 9)
    with pytest.raises(BusyError) as caught:
        call(fake, "classify", "Koch", timeout=10)
    assert caught.value.retry_after == 4
    assert fake.pauses == [4.25, 4.5]
    deadlines = [int(request.headers["x-request-timeout-ms"]) for request in fake.requests]
    assert deadlines == [10_000, 5750, 1250]
