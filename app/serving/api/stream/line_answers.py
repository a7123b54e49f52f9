"""Lines of a stream become lines of its answer, each with its ad's prediction or its own error."""

import logging
from collections.abc import Callable, Sequence

from pydantic import ValidationError

from app.errors import (
    BodyTooLargeError,
    FatalEngineError,
    InvalidRequestError,
    NotReadyError,
    ServiceError,
)
from app.metrics import Metrics
from app.records import Prediction
from app.schemas.classify import ClassifyRequest, ClassifyResponse
from app.schemas.ndjson import Line
from app.schemas.problem import Problem
from app.schemas.stream import StreamAnswer, StreamError
from app.service import Classifier
from app.serving.api.json_body import SPARE_VALUES, parse
from app.serving.api.problems import UNEXPLAINED, invalid, problem_of
from app.trace import Trace, follow

log = logging.getLogger(__name__)


class Answering:
    """Answers the lines of one stream."""

    def __init__(
        self, service: Callable[[], Classifier], metrics: Metrics, trace: Trace, max_line_bytes: int
    ) -> None:
        """Begin.

        Args:
            service: gives what classifies; asked for each call's lines, as another checkpoint may
                have taken over since.
            metrics: where the lines are counted.
            trace: of the whole stream; gathers its ads and tokens.
            max_line_bytes: said of a line that was longer.
        """
        self._service, self._metrics, self._trace = service, metrics, trace
        self._max_line_bytes = max_line_bytes

    async def answer(self, lines: Sequence[Line]) -> bytes:
        """Return the answers' lines, in order. Call it in a task of its own.

        Raises:
            NotReadyError: the service takes no more ads; none of these was answered.
            FatalEngineError: likewise, as the device was lost.
        """
        # Parts of a stream overlap, so that its trace cannot tell their stages.
        follow(Trace(self._trace.request_id))
        asked = [self._read(line) for line in lines]
        ads = [one for one in asked if isinstance(one, ClassifyRequest)]
        found = iter(await self._classify(self._service(), ads))
        return b"".join(
            self._told(line, one, next(found))
            if isinstance(one, ClassifyRequest)
            else self._refused(line.number, one)
            for line, one in zip(lines, asked, strict=True)
        )

    def last_line(self, number: int, error: ServiceError) -> bytes:
        """Return the line that ends a stream before its time."""
        return self._error(number, error, resume=True)

    def _read(self, line: Line) -> ClassifyRequest | ServiceError:
        if line.content is None:
            return BodyTooLargeError(
                f"The line is larger than {self._max_line_bytes} bytes; shorten its ad."
            )
        try:
            ad = ClassifyRequest.model_validate(parse(line.content, SPARE_VALUES, "line"))
        except ValidationError as error:
            return invalid(error.errors(include_url=False, include_input=False)[0], "line")
        except ServiceError as error:
            return error
        return InvalidRequestError(f"line.explain: {UNEXPLAINED}") if ad.explain else ad

    async def _classify(
        self, service: Classifier, ads: Sequence[ClassifyRequest]
    ) -> list[Prediction | ServiceError]:
        if not ads:
            return []
        try:
            return [
                *await service.classify_when_there_is_room(
                    [ad.ad() for ad in ads], [ad.top_k for ad in ads]
                )
            ]
        except (NotReadyError, FatalEngineError):
            raise
        except Exception as error:
            if len(ads) > 1:
                # Whichever of them it was, it alone fails.
                return [one for ad in ads for one in await self._classify(service, [ad])]
            if isinstance(error, ServiceError):
                return [error]
            log.exception("a line of a stream failed")
            return [ServiceError("Something unexpected failed.")]

    def _told(self, line: Line, ad: ClassifyRequest, found: Prediction | ServiceError) -> bytes:
        if isinstance(found, ServiceError):
            return self._refused(line.number, found)
        self._metrics.stream_lines.labels("200").inc()
        self._trace.ads += 1
        self._trace.tokens += found.tokens
        answer = ClassifyResponse.of(ad, found)
        return _written(StreamAnswer(line=line.number, **dict(answer)))

    def _refused(self, number: int, error: ServiceError) -> bytes:
        self._metrics.stream_lines.labels(str(error.status)).inc()
        return self._error(number, error, resume=False)

    def _error(self, number: int, error: ServiceError, *, resume: bool) -> bytes:
        problem = Problem(**problem_of(error, self._trace.request_id))
        return _written(StreamError(line=number, resume=resume, error=problem))


def _written(line: StreamAnswer | StreamError) -> bytes:
    return line.model_dump_json().encode() + b"\n"
