import json

import httpx
import pytest

from app.client import AdIn, ForeignAnswerError, RefusedError, StreamError
from tests.support.fake_transport import (
    BrokenBody,
    FakeService,
    answer_line,
    error_line,
    problem_response,
)


def test_parts_continue_the_line_numbers(call):
    fake = FakeService()
    ads = ["Koch", {"text": "Koch", "id": "b", "top_k": 9}, *[AdIn(text="Koch", id="c")] * 4]
    answers = call(fake, "stream", iter(ads), top_k=5, first_line=101)
    assert [answer.line for answer in answers] == [101, 102, 103, 104, 105, 106]
    assert [answer.id for answer in answers] == [None, "b", "c", "c", "c", "c"]
    parts = fake.requests_to("/classify/stream")
    assert [part.headers["x-first-line"] for part in parts] == ["101", "105"]
    sent = [json.loads(line) for part in parts for line in part.content.splitlines()]
    assert [ad["top_k"] for ad in sent] == [5, 9, 5, 5, 5, 5]


def test_parts_are_not_larger_than_the_body_limit(call):
    fake = FakeService()
    ads = ["a" * 1500] * 3 + ["a" * 9000] + ["Koch"]
    assert [answer.line for answer in call(fake, "stream", ads)] == [1, 2, 3, 4, 5]
    sizes = [len(part.content.splitlines()) for part in fake.requests_to("/classify/stream")]
    assert sizes == [2, 1, 1, 1]


def test_source_is_consumed_part_by_part(call):
    fake, taken = FakeService(), []

    def source():
        for number in range(10):
            taken.append((number, len(fake.requests_to("/classify/stream"))))
            yield "Koch"

    assert len(call(fake, "stream", source())) == 10
    assert [sent for _, sent in taken] == [0] * 4 + [1] * 4 + [2] * 2


def test_broken_stream_resumes_after_the_last_answer(call):
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
    first_lines = [part.headers["x-first-line"] for part in fake.requests_to("/classify/stream")]
    assert first_lines == ["1", "3", "4", "4", "4", "4", "5"]
    # The first answer of a part resets the pauses.
    assert fake.pauses == [0.25, 0.25, 0.5, 1.0, 2.0]


def test_lines_after_an_ended_stream_are_sent_again(call):
    def drains(request):
        return httpx.Response(
            200, content=FakeService.lines(request)[0] + error_line(2, 503, resume=True)
        )

    answers = call(FakeService(drains), "stream", ["Koch", "Bäcker"])
    assert [answer.line for answer in answers] == [1, 2]
    assert not any(isinstance(answer, StreamError) for answer in answers)


def test_failed_line_is_yielded_with_its_problem(call):
    def refuses(request):
        lines = FakeService.lines(request)
        return httpx.Response(200, content=lines[0] + error_line(2, 422, resume=False) + lines[2])

    first, error, last = call(FakeService(refuses), "stream", ["Koch", "", "Koch"])
    assert (first.line, last.line) == (1, 3)
    assert isinstance(error, StreamError)
    assert error.error.status == 422


def test_refused_stream_is_not_retried(call):
    fake = FakeService(problem_response(401))
    with pytest.raises(RefusedError):
        call(fake, "stream", ["Koch"])
    assert len(fake.requests_to("/classify/stream")) == 1


def test_answer_for_another_line_is_rejected(call):
    fake = FakeService(httpx.Response(200, content=answer_line(7, {})))
    with pytest.raises(ForeignAnswerError, match="Line 7 was answered, not 1"):
        call(fake, "stream", ["Koch"])
