"""The blocking client."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from app.client.calls import (
    BULK_TIMEOUT_SECONDS,
    TIMEOUT_SECONDS,
    Call,
    CallFactory,
    SendResult,
    is_ready,
)
from app.client.encoding import (
    CONNECTION_LIMITS,
    AdLike,
    authorization,
    batch_bodies,
    problem_error,
    unreachable_error,
)
from app.client.errors import CallError
from app.client.retries import Attempts, Retries
from app.client.stream_buffer import StreamBuffer
from app.core.types import Format
from app.schemas.classify import ClassifyResponse
from app.schemas.jobposting_response import JobPostingResponse
from app.schemas.model import Limits, ModelResponse
from app.schemas.ndjson import LineReader
from app.schemas.stream import StreamAnswer, StreamError

Answer = TypeVar("Answer")


class DoppelkopfClient:
    """Calls one service over a pool of connections. Close it, or use `with`; thread-safe.

    A call that fails raises a `CallError`; see `app.client.errors`. Rejections and broken
    connections are retried, as `Retries` says, until the call's timeout.

    Args:
        address: of the service, such as "http://localhost:8000".
        api_key: sent as a bearer token; never logged or shown.
        timeout: default timeout of a call in seconds, including retries and pauses.
        retries: number of attempts and length of pauses.
        transport: sends the requests; by default over the network.
        sleep: sleeps for a number of seconds.
        clock: monotonic time in seconds.
        uniform: returns a random number between two bounds.

    Raises:
        ValueError: the API key cannot be sent in a header.
    """

    def __init__(
        self,
        address: str,
        *,
        api_key: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        retries: Retries = Retries(),  # noqa: B008  frozen
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._http = httpx.Client(
            base_url=address,
            headers=authorization(api_key),
            transport=transport,
            limits=CONNECTION_LIMITS,
        )
        self._calls = CallFactory(self._http.build_request, timeout, retries, clock, uniform)
        self._sleep = sleep
        self._limits: Limits | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._http.base_url)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def classify(
        self,
        text: str,
        *,
        title: str | None = None,
        id: str | None = None,
        format: Format = "text",
        top_k: int = 3,
        explain: bool = False,
        timeout: float | None = None,
    ) -> ClassifyResponse:
        """Classify one ad; the service serves it before ads of `classify_many` and `stream`.

        Args:
            text: the whole ad.
            title: its title, if it has one.
            id: returned with the answer.
            format: of text and title; "auto" detects HTML.
            top_k: labels to return for each head.
            explain: return in `explanation` how much each sentence contributes; takes longer.
            timeout: in seconds; None for the client's default.
        """
        ad = {"text": text, "title": title, "id": id, "format": format}
        return self._run(self._calls.classify(ad, top_k, explain, timeout))

    def classify_jobposting(
        self, document: Mapping[str, Any], *, top_k: int = 3, timeout: float | None = None
    ) -> JobPostingResponse:
        """Classify schema.org job postings; each result's `patch` has the fields to add to it.

        Args:
            document: JSON-LD: a JobPosting, or an object with an `@graph` of them.
            top_k: labels to return for each head, unless the document has a `top_k`.
            timeout: in seconds; None for the client's default.
        """
        return self._run(self._calls.jobposting(document, top_k, timeout))

    def classify_many(
        self, ads: Iterable[AdLike], *, top_k: int = 3, timeout: float = BULK_TIMEOUT_SECONDS
    ) -> Iterator[ClassifyResponse]:
        """Classify ads in batches as large as the service allows; yield answers in order.

        An invalid ad fails its whole batch; with `stream` only that ad gets an error.

        Args:
            ads: texts, mappings with `text`, or `AdIn`; consumed batch by batch.
            top_k: labels to return for each head.
            timeout: of a batch, in seconds.
        """
        for content in batch_bodies(ads, self._service_limits(), top_k):
            yield from self._run(self._calls.batch(content, timeout)).results

    def stream(
        self,
        ads: Iterable[AdLike],
        *,
        top_k: int = 3,
        first_line: int = 1,
        timeout: float = BULK_TIMEOUT_SECONDS,
    ) -> Iterator[StreamAnswer | StreamError]:
        """Classify any number of ads; yield an answer or an error for each, in order.

        Resumes by itself after a broken connection or a restart of the service: no ad is lost or
        answered twice. Client and service hold at most a batch of ads in memory.

        Args:
            ads: texts, mappings with `text`, or `AdIn`; consumed part by part.
            top_k: labels to return for each head, for ads without a `top_k` of their own.
            first_line: number of the first ad, for a job that resumes.
            timeout: seconds without an answer.
        """
        buffer = StreamBuffer(self._service_limits(), top_k, first_line)
        source = iter(ads)
        while True:
            buffer.start_part()
            for ad in source:
                if not buffer.add(ad):
                    break
            if not buffer:
                return
            attempts = self._calls.attempts(timeout)
            while buffer:
                try:
                    for answer in self._send_part(buffer, attempts):
                        attempts.reset()
                        yield answer
                except CallError as error:
                    pause = attempts.pause_after(error)
                    self._sleep(pause)

    def model(self, *, timeout: float | None = None) -> ModelResponse:
        """Return what the service serves: labels, limits, device and revision."""
        return self._run(self._calls.model(timeout))

    def ready(self) -> bool:
        """Return whether the service can classify ads now; sends one request, without retries."""
        try:
            return is_ready(self._http.send(self._calls.ready()))
        except httpx.TransportError:
            return False

    def _run(self, call: Call[Answer]) -> Answer:
        try:
            step = next(call)
            while True:
                if isinstance(step, float):
                    self._sleep(step)
                    step = next(call)
                else:
                    step = call.send(self._send(step))
        except StopIteration as end:
            answer: Answer = end.value
            return answer

    def _send(self, request: httpx.Request) -> SendResult:
        try:
            return self._http.send(request)
        except httpx.TransportError as error:
            return error

    def _send_part(
        self, buffer: StreamBuffer, attempts: Attempts
    ) -> Iterator[StreamAnswer | StreamError]:
        """Send the unanswered lines, and yield their answers as they arrive."""
        request = self._calls.part(buffer, attempts)
        lines = LineReader(buffer.next_line)
        try:
            response = self._http.send(request, stream=True)
            try:
                if response.status_code != 200:
                    response.read()
                    raise problem_error(response)
                for chunk in response.iter_bytes():
                    for line in lines.feed(chunk):
                        yield buffer.take(line.content or b"")
            finally:
                response.close()
        except httpx.TransportError as error:
            raise unreachable_error(error, request.url) from error
        buffer.check_all_answered()

    def _service_limits(self) -> Limits:
        if self._limits is None:
            self._limits = self.model().limits
        return self._limits
