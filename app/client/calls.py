"""The logic of a call, shared by both clients: requests, retries and parsing, without any I/O.

A call is a generator. It yields a request, and is sent the response or the transport error; or it
yields a number of seconds to sleep. Its return value is the answer. The blocking and the asyncio
client only send and sleep.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter

from app.client.encoding import (
    BATCH_ANSWER,
    CLASSIFY_ANSWER,
    JOBPOSTING_ANSWER,
    MODEL_ANSWER,
    AdLike,
    ad_fields,
    deadline_header,
    problem_error,
    read_answer,
    request_timeout,
    to_json,
    unreachable_error,
)
from app.client.errors import CallError
from app.client.retries import Attempts, Retries
from app.client.stream_buffer import StreamBuffer
from app.schemas.classify import BatchResponse, ClassifyResponse
from app.schemas.jobposting_response import JobPostingResponse
from app.schemas.model import ModelResponse

TIMEOUT_SECONDS = 60.0
"""Default timeout of a call."""
BULK_TIMEOUT_SECONDS = 600.0
"""Default timeout of a batch, and of a stream without an answer: longer, since the service serves
single ads first."""

Answer = TypeVar("Answer")
SendResult = httpx.Response | httpx.TransportError
Call = Generator[httpx.Request | float, Any, Answer]


@dataclass(frozen=True)
class CallFactory:
    """Makes the calls of one client.

    Args:
        build: `build_request` of the client's `httpx.Client` or `httpx.AsyncClient`.
        seconds: timeout of a call without one of its own.
        retries: number of attempts and length of pauses.
        clock: monotonic time in seconds.
        uniform: returns a random number between two bounds.
    """

    build: Callable[..., httpx.Request]
    seconds: float
    retries: Retries
    clock: Callable[[], float]
    uniform: Callable[[float, float], float]

    def classify(
        self, ad: AdLike, top_k: int, explain: bool, seconds: float | None
    ) -> Call[ClassifyResponse]:
        """Classify one ad: `POST /classify`."""
        fields = {**ad_fields(ad), "top_k": top_k}
        # Sent only if true: older services reject the field.
        content = to_json(fields | {"explain": True} if explain else fields)
        return self._call("POST", "/classify", CLASSIFY_ANSWER, seconds, content)

    def jobposting(
        self, document: Mapping[str, Any], top_k: int, seconds: float | None
    ) -> Call[JobPostingResponse]:
        """Classify the job postings of a JSON-LD document: `POST /classify/jobposting`."""
        content = to_json({"top_k": top_k, **document})
        return self._call("POST", "/classify/jobposting", JOBPOSTING_ANSWER, seconds, content)

    def batch(self, content: bytes, seconds: float) -> Call[BatchResponse]:
        """Send a body made by `batch_bodies`: `POST /classify/batch`."""
        return self._call("POST", "/classify/batch", BATCH_ANSWER, seconds, content)

    def model(self, seconds: float | None) -> Call[ModelResponse]:
        """Describe the served model: `GET /model`."""
        return self._call("GET", "/model", MODEL_ANSWER, seconds)

    def ready(self) -> httpx.Request:
        """Return the request for the service's readiness; see `is_ready`."""
        return self.build("GET", "/health/ready", timeout=request_timeout(self.seconds))

    def part(self, buffer: StreamBuffer, attempts: Attempts) -> httpx.Request:
        """Return the request that sends the unanswered lines of a part of a stream."""
        return self.build(
            "POST",
            "/classify/stream",
            content=buffer.content(),
            headers=buffer.headers(),
            timeout=request_timeout(attempts.seconds_left),
        )

    def attempts(self, seconds: float | None) -> Attempts:
        """Return the attempts of a call with this timeout; None stands for the default."""
        timeout = self.seconds if seconds is None else seconds
        return Attempts(self.retries, timeout, self.clock, self.uniform)

    def _call(
        self,
        method: str,
        path: str,
        kind: TypeAdapter[Answer],
        seconds: float | None,
        content: bytes | None = None,
    ) -> Call[Answer]:
        attempts = self.attempts(seconds)
        while True:
            left = attempts.seconds_left
            headers = (
                {"Content-Type": "application/json", **deadline_header(left)} if content else {}
            )
            request = self.build(
                method, path, content=content, headers=headers, timeout=request_timeout(left)
            )
            result: SendResult = yield request
            try:
                if isinstance(result, httpx.TransportError):
                    raise unreachable_error(result, request.url)
                return read_answer(result, kind)
            except CallError as error:
                pause = attempts.pause_after(error)
            yield pause


def is_ready(response: httpx.Response) -> bool:
    """Return whether a response of `GET /health/ready` says that the service is ready.

    Raises:
        ProblemError: the status is neither 200 nor 503.
    """
    if response.status_code not in (200, 503):
        raise problem_error(response)
    return response.status_code == 200
