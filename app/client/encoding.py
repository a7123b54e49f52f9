"""What goes over the wire: requests made, answers read. Sends nothing itself."""

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
"""A text, an object with `text` and perhaps `title`, `id` and `format`, or an `AdIn`."""

GRACE_SECONDS = 1.0
"""A service that gives up in time says so; its answer needs a moment to arrive."""
MAX_CONNECT_SECONDS = 10.0
# Below the 75 s after which the service closes an idle connection: so that none breaks in use.
POOL = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=60.0)

Answer = TypeVar("Answer")
ONE = TypeAdapter(ClassifyResponse)
BATCH = TypeAdapter(BatchResponse)
MODEL = TypeAdapter(ModelResponse)
POSTINGS = TypeAdapter(JobPostingResponse)


def fields_of(ad: AdLike) -> dict[str, Any]:
    """Return an ad as the service takes it."""
    if isinstance(ad, str):
        return {"text": ad}
    return ad.model_dump(exclude_none=True) if isinstance(ad, AdIn) else dict(ad)


def encoded(value: Any) -> bytes:
    """Write JSON in UTF-8; what is no text in Unicode becomes a question mark."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def batches(ads: Iterable[AdLike], limits: Limits, top_k: int) -> Iterator[bytes]:
    """Cut ads into bodies of `POST /classify/batch`, each as large as the service takes."""
    end = b'],"top_k":%d}' % top_k
    room = limits.max_body_bytes - len(b'{"ads":[') - len(end)
    batch: list[bytes] = []
    size = 0
    for content in (encoded(fields_of(ad)) for ad in ads):
        if batch and (len(batch) == limits.max_batch_ads or size + len(content) > room):
            yield b'{"ads":[' + b",".join(batch) + end
            batch, size = [], 0
        batch.append(content)
        size += len(content) + 1
    if batch:
        yield b'{"ads":[' + b",".join(batch) + end


def timeout(seconds: float) -> httpx.Timeout:
    """Return the limits of one try that has so many seconds."""
    return httpx.Timeout(seconds + GRACE_SECONDS, connect=min(seconds, MAX_CONNECT_SECONDS))


def deadline(seconds: float) -> dict[str, str]:
    """Return the header that lets the service drop what comes too late."""
    return {"X-Request-Timeout-Ms": str(min(max(round(seconds * 1000), 1), MAX_TIMEOUT_MS))}


def read(response: httpx.Response, kind: TypeAdapter[Answer]) -> Answer:
    """Read an answer.

    Raises:
        ProblemError: it is a problem document.
        ForeignAnswerError: it is nothing that a Doppelkopf of this version says.
    """
    if response.status_code != 200:
        raise problem_of(response)
    return parsed(response.content, kind)


def parsed(content: str | bytes, kind: TypeAdapter[Answer]) -> Answer:
    """Read JSON; a newer service may say more than this client knows.

    Raises:
        ForeignAnswerError: it is of another shape.
    """
    try:
        return kind.validate_json(content, extra="ignore")
    except ValidationError as error:
        raise ForeignAnswerError(
            "The answer is none of Doppelkopf's; check the address and the service's version."
        ) from error


def problem_of(response: httpx.Response) -> ProblemError:
    """Return the error of an answer that is none; a proxy's has no document."""
    try:
        problem = Problem.model_validate_json(response.content, extra="ignore")
    except ValidationError:
        problem = Problem(
            type="about:blank",
            title=response.reason_phrase or "Unknown",
            status=response.status_code,
            detail="What answered is no Doppelkopf, perhaps a proxy before it.",
            request_id=response.headers.get("X-Request-Id", ""),
        )
    told = response.headers.get("Retry-After", "")
    # A date, which it may be too, is never said by a Doppelkopf.
    return ProblemError.of(problem, float(told) if told.isdecimal() else None)


def unreachable(error: httpx.TransportError, address: object) -> UnreachableError:
    """Return the error for an answer that did not come."""
    reason = str(error) or type(error).__name__
    failure = UnreachableError(f"No answer from {address}: {reason}.")
    failure.__cause__ = error
    return failure


def checked_key(key: str | None) -> Sequence[tuple[str, str]]:
    """Return the header of an API key.

    Raises:
        ValueError: it cannot be sent; without the key, which belongs in no traceback's message.
    """
    if key is None:
        return ()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("an API key has letters, digits and signs of ASCII only, and no blanks")
    return (("Authorization", f"Bearer {key}"),)
