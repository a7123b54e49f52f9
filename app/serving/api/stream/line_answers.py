"""Answers the lines of a stream: each gets its ad's prediction, or an error of its own."""

import logging
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from app.core.errors import (
    BodyTooLargeError,
    FatalEngineError,
    InvalidRequestError,
    NotReadyError,
    ServiceError,
)
from app.core.gaps import fill_gaps
from app.schemas.classify import ClassifyRequest, ClassifyResponse
from app.schemas.ndjson import Line
from app.schemas.problem import Problem
from app.schemas.stream import StreamAnswer, StreamError
from app.serving.api.json_body import SPARE_VALUES, parse_json
from app.serving.api.problems import UNEXPLAINED, invalid_value, problem_of
from app.serving.inference.service import Classifier
from app.serving.metrics import Metrics
from app.serving.request_trace import Trace, set_current

log = logging.getLogger(__name__)


class LineAnswerer:
    """Answers the lines of one stream.

    Args:
        service: returns the current service. It is called for each part of the stream, since a hot
            swap may replace the service in between.
        metrics: where the lines are counted.
        trace: of the whole stream; gets its ads and tokens.
        max_line_bytes: named in the error of a line that is longer.
    """

    def __init__(
        self, service: Callable[[], Classifier], metrics: Metrics, trace: Trace, max_line_bytes: int
    ) -> None:
        self._service, self._metrics, self._trace = service, metrics, trace
        self._max_line_bytes = max_line_bytes

    async def answer(self, lines: Sequence[Line]) -> bytes:
        """Return the lines that answer these lines, in order. Call it in a task of its own.

        Raises:
            NotReadyError: the service takes no more ads; none of these lines was answered.
            FatalEngineError: the device was lost; none of these lines was answered.
        """
        # A trace of its own: the parts of a stream overlap, so their stages cannot be added up.
        set_current(Trace(self._trace.request_id))
        requests = [self._read(line) for line in lines]
        ads = [one for one in requests if isinstance(one, ClassifyRequest)]
        errors = [one if isinstance(one, ServiceError) else None for one in requests]
        answers = fill_gaps(errors, await self._classify(self._service(), ads))
        return b"".join(
            self._answer_line(line.number, answer)
            for line, answer in zip(lines, answers, strict=True)
        )

    def last_line(self, number: int, error: ServiceError) -> bytes:
        """Return the line that ends a stream early; the client resumes at `number`."""
        return self._problem_line(number, error, resume=True)

    def _read(self, line: Line) -> ClassifyRequest | ServiceError:
        if line.content is None:
            return BodyTooLargeError(
                f"The line is larger than {self._max_line_bytes} bytes; shorten its ad."
            )
        try:
            ad = ClassifyRequest.model_validate(parse_json(line.content, SPARE_VALUES, "line"))
        except ValidationError as error:
            return invalid_value(error.errors(include_url=False, include_input=False)[0], "line")
        except ServiceError as error:
            return error
        return InvalidRequestError(f"line.explain: {UNEXPLAINED}") if ad.explain else ad

    async def _classify(
        self, service: Classifier, ads: Sequence[ClassifyRequest]
    ) -> Sequence[ClassifyResponse | ServiceError]:
        if not ads:
            return []
        try:
            found = await service.classify_bulk([ad.ad() for ad in ads], [ad.top_k for ad in ads])
        except (NotReadyError, FatalEngineError):
            raise
        except Exception as error:
            if len(ads) > 1:
                # One ad may have failed the call: alone, each gets its own result or error.
                return [one for ad in ads for one in await self._classify(service, [ad])]
            if isinstance(error, ServiceError):
                return [error]
            log.exception("a line of a stream failed")
            return [ServiceError("Something unexpected failed.")]
        return [ClassifyResponse.of(*both) for both in zip(ads, found, strict=True)]

    def _answer_line(self, number: int, answer: ClassifyResponse | ServiceError) -> bytes:
        if isinstance(answer, ServiceError):
            self._metrics.stream_lines.labels(str(answer.status)).inc()
            return self._problem_line(number, answer, resume=False)
        self._metrics.stream_lines.labels("200").inc()
        self._trace.ads += 1
        self._trace.tokens += answer.tokens
        return _encoded(StreamAnswer(line=number, **dict(answer)))

    def _problem_line(self, number: int, error: ServiceError, *, resume: bool) -> bytes:
        problem = Problem(**problem_of(error, self._trace.request_id))
        return _encoded(StreamError(line=number, resume=resume, error=problem))


def _encoded(line: StreamAnswer | StreamError) -> bytes:
    return line.model_dump_json().encode() + b"\n"
