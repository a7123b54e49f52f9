"""Encodes requests to JSON and headers, and decodes responses to answers or errors."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from app.client.errors import ForeignAnswerError, ProblemError, UnreachableError
from app.schemas.classify import AdIn, BatchResponse, ClassifyResponse
from app.schemas.fields import MAX_TIMEOUT_MS
from app.schemas.jobposting_response import JobPostingResponse
from app.schemas.model import Limits, ModelResponse
from app.schemas.problem import Problem

AdLike = str | Mapping[str, Any] | AdIn
"""A text, a mapping with `text` and optionally `title`, `id` and `format`, or an `AdIn`."""

GRACE_SECONDS = 1.0
"""Additional wait for the response of a service that gives up at the deadline."""
MAX_CONNECT_SECONDS = 10.0
# The service closes idle connections after 75 s; the client does so earlier, so that it never sends
# on a connection that is being closed.
CONNECTION_LIMITS = httpx.Limits(
    max_connections=100, max_keepalive_connections=20, keepalive_expiry=60.0
)

Answer = TypeVar("Answer")
CLASSIFY_ANSWER = TypeAdapter(ClassifyResponse)
BATCH_ANSWER = TypeAdapter(BatchResponse)
MODEL_ANSWER = TypeAdapter(ModelResponse)
JOBPOSTING_ANSWER = TypeAdapter(JobPostingResponse)


def ad_fields(ad: AdLike) -> dict[str, Any]:
    """Return an ad as the JSON object that the service expects."""
    if isinstance(ad, str):
        return {"text": ad}
    return ad.model_dump(exclude_none=True) if isinstance(ad, AdIn) else dict(ad)


def to_json(value: Any) -> bytes:
    """Encode a value as JSON in UTF-8; lone surrogates become question marks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def batch_bodies(ads: Iterable[AdLike], limits: Limits, top_k: int) -> Iterator[bytes]:
    """Yield the request bodies of `POST /classify/batch`, each as large as the service allows."""
    end = b'],"top_k":%d}' % top_k
    room = limits.max_body_bytes - len(b'{"ads":[') - len(end)
    batch: list[bytes] = []
    size = 0
    for content in (to_json(ad_fields(ad)) for ad in ads):
        if batch and (len(batch) == limits.max_batch_ads or size + len(content) > room):
            yield b'{"ads":[' + b",".join(batch) + end
            batch, size = [], 0
        batch.append(content)
        size += len(content) + 1
    if batch:
        yield b'{"ads":[' + b",".join(batch) + end


def request_timeout(seconds: float) -> httpx.Timeout:
    """Return the timeouts of one attempt with this many seconds left."""
    return httpx.Timeout(seconds + GRACE_SECONDS, connect=min(seconds, MAX_CONNECT_SECONDS))


def deadline_header(seconds: float) -> dict[str, str]:
    """Return the header with the seconds left, after which the service drops the request."""
    return {"X-Request-Timeout-Ms": str(min(max(round(seconds * 1000), 1), MAX_TIMEOUT_MS))}


def read_answer(response: httpx.Response, kind: TypeAdapter[Answer]) -> Answer:
    """Parse a response of status 200; raise the error of any other.

    Raises:
        ProblemError: the status is not 200.
        ForeignAnswerError: the body does not match the schema.
    """
    if response.status_code != 200:
        raise problem_error(response)
    return parse_answer(response.content, kind)


def parse_answer(content: str | bytes, kind: TypeAdapter[Answer]) -> Answer:
    """Parse JSON; fields of a newer service that this client does not know are ignored.

    Raises:
        ForeignAnswerError: the JSON does not match the schema.
    """
    try:
        return kind.validate_json(content, extra="ignore")
    except ValidationError as error:
        raise ForeignAnswerError(
            "The answer is not one of Doppelkopf; check the address and the service's version."
        ) from error


def problem_error(response: httpx.Response) -> ProblemError:
    """Return the error of a response whose status is not 200.

    Without a problem document, as from a proxy, it is made of the status line.
    """
    try:
        problem = Problem.model_validate_json(response.content, extra="ignore")
    except ValidationError:
        problem = Problem(
            type="about:blank",
            title=response.reason_phrase or "Unknown",
            status=response.status_code,
            detail="The answer does not come from Doppelkopf; perhaps from a proxy in front of it.",
            request_id=response.headers.get("X-Request-Id", ""),
        )
    retry_after = response.headers.get("Retry-After", "")
    # HTTP allows a date as well, which Doppelkopf never sends.
    return ProblemError.of(problem, float(retry_after) if retry_after.isdecimal() else None)


def unreachable_error(error: httpx.TransportError, address: object) -> UnreachableError:
    """Return the error of a request that got no response."""
    reason = str(error) or type(error).__name__
    failure = UnreachableError(f"No answer from {address}: {reason}.")
    failure.__cause__ = error
    return failure


def authorization(key: str | None) -> Sequence[tuple[str, str]]:
    """Return the header with the API key; none without a key.

    Raises:
        ValueError: the key cannot be sent in a header. The message does not contain the key.
    """
    if key is None:
        return ()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("an API key consists of printable ASCII characters without spaces")
    return (("Authorization", f"Bearer {key}"),)
