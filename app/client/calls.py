"""How a call goes, whether it blocks or not: as a generator that asks for what it needs.

It yields a request, and is sent the response or the error that came of it; or it yields a number
of seconds, and is resumed after them. What it returns is the call's answer. So what decides stands
here once, and the two clients only send and sleep.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter

from app.client.encoding import (
    BATCH,
    MODEL,
    ONE,
    POSTINGS,
    AdLike,
    deadline,
    encoded,
    fields_of,
    problem_of,
    read,
    timeout,
    unreachable,
)
from app.client.errors import CallError
from app.client.retries import Attempts, Retries
from app.client.stream_buffer import Pending
from app.schemas.classify import BatchResponse, ClassifyResponse
from app.schemas.jobposting_response import JobPostingResponse
from app.schemas.model import ModelResponse

SECONDS = 60.0
"""Time of a call."""
BULK_SECONDS = 600.0
"""Time of a batch, and of a stream without an answer: bulk waits behind single ads."""

Answer = TypeVar("Answer")
Outcome = httpx.Response | httpx.TransportError
Call = Generator[httpx.Request | float, Any, Answer]


@dataclass(frozen=True)
class Calls:
    """Makes the calls of a client.

    Args:
        build: `build_request` of one of httpx's clients.
        seconds: of a call that does not say.
        retries: how often each is tried.
        clock: seconds, monotonic.
        uniform: draws between two bounds.
    """

    build: Callable[..., httpx.Request]
    seconds: float
    retries: Retries
    clock: Callable[[], float]
    uniform: Callable[[float, float], float]

    def classify(
        self, ad: AdLike, top_k: int, explain: bool, seconds: float | None
    ) -> Call[ClassifyResponse]:
        """Ask for one ad."""
        fields = {**fields_of(ad), "top_k": top_k}
        # Not said where it is not asked for: an older service knows no such field.
        content = encoded(fields | {"explain": True} if explain else fields)
        return self._call("POST", "/classify", ONE, seconds, content)

    def jobposting(
        self, document: Mapping[str, Any], top_k: int, seconds: float | None
    ) -> Call[JobPostingResponse]:
        """Ask for the postings of a document."""
        content = encoded({"top_k": top_k, **document})
        return self._call("POST", "/classify/jobposting", POSTINGS, seconds, content)

    def batch(self, content: bytes, seconds: float) -> Call[BatchResponse]:
        """Ask for a batch, as `batches` makes it."""
        return self._call("POST", "/classify/batch", BATCH, seconds, content)

    def model(self, seconds: float | None) -> Call[ModelResponse]:
        """Ask what is served."""
        return self._call("GET", "/model", MODEL, seconds)

    def ready(self) -> httpx.Request:
        """Return the request that asks once whether the service is ready."""
        return self.build("GET", "/health/ready", timeout=timeout(self.seconds))

    def part(self, pending: Pending, attempts: Attempts) -> httpx.Request:
        """Return the request with a part of a stream, or with what is left of it."""
        return self.build(
            "POST",
            "/classify/stream",
            content=pending.content(),
            headers=pending.headers(),
            timeout=timeout(attempts.seconds_left),
        )

    def attempts(self, seconds: float | None) -> Attempts:
        """Begin to count tries and time."""
        given = self.seconds if seconds is None else seconds
        return Attempts(self.retries, given, self.clock, self.uniform)

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
            headers = {"Content-Type": "application/json", **deadline(left)} if content else {}
            request = self.build(
                method, path, content=content, headers=headers, timeout=timeout(left)
            )
            outcome: Outcome = yield request
            try:
                if isinstance(outcome, httpx.TransportError):
                    raise unreachable(outcome, request.url)
                return read(outcome, kind)
            except CallError as error:
                pause = attempts.pause(error)
            yield pause


def is_ready(response: httpx.Response) -> bool:
    """Tell what the answer to `ready` says.

    Raises:
        ProblemError: it is neither yes nor no.
    """
    if response.status_code not in (200, 503):
        raise problem_of(response)
    return response.status_code == 200
