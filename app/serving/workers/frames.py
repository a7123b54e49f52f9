"""The wire format between front ends and engine processes: many requests or results a message.

A message is a list of frames. The first is one byte, the kind of message; the others hold arrays in
which the values of all requests or results follow each other, so that nothing is encoded ad by ad.
Both ends run the same version on the same machine, so numbers have the machine's byte order.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from app.core.errors import (
    EngineError,
    FatalEngineError,
    NotReadyError,
    OverloadedError,
    ServiceError,
)
from app.core.types import EncodedAd, FloatArray
from app.serving.scheduling.lanes import Lane

REQUESTS, CANCEL, FAIL_QUEUED = b"S", b"C", b"G"
"""Kinds of messages from a front end: requests; numbers of cancelled requests; fail all requests
of which no ad is in a batch yet."""

RESULTS, FAILURE = b"R", b"F"
"""Kinds of messages to a front end: probabilities of ads; one failed request."""

_REQUEST = np.dtype([("number", "u8"), ("ads", "u4"), ("lane", "u1"), ("request_id", "S128")])
_RESULT = np.dtype([("number", "u8"), ("ad", "u4"), ("batch_started", "f8")])
_NUMBERS = np.dtype("u8")
_SIZES = np.dtype("u4")
_TOKEN_IDS = np.dtype("i4")
_FAILURE = struct.Struct("QBQ")
"""The request's number, the index of the error's class, and the seconds of Retry-After."""

_LANES = tuple(Lane)
_ERRORS: tuple[type[ServiceError], ...] = (
    EngineError, FatalEngineError, NotReadyError, OverloadedError,
)  # fmt: skip

Frames = list[bytes]


@dataclass(frozen=True, slots=True)
class SubmittedRequest:
    """An admitted request; its front end chooses `number`."""

    number: int
    lane: Lane
    request_id: str
    encoded: Sequence[EncodedAd]


@dataclass(frozen=True, slots=True)
class AdResult:
    """The result of one ad.

    `batch_started` is a time of `time.perf_counter`, which all processes of a machine share.
    `probabilities` are those of all heads, one head after the other: float32.
    """

    number: int
    """Of the ad's request."""
    ad: int
    """The ad's index in its request."""
    batch_started: float
    probabilities: FloatArray


def encode_requests(requests: Sequence[SubmittedRequest]) -> Frames:
    """Return one message with all requests."""
    ads = [encoded for one in requests for encoded in one.encoded]
    windows = [window for encoded in ads for window in encoded.windows]
    heads = [
        (one.number, len(one.encoded), _LANES.index(one.lane), one.request_id.encode())
        for one in requests
    ]
    return [
        REQUESTS,
        np.array(heads, _REQUEST).tobytes(),
        np.array([len(encoded.windows) for encoded in ads], _SIZES).tobytes(),
        np.array([len(window) for window in windows], _SIZES).tobytes(),
        np.concatenate(windows, dtype=_TOKEN_IDS).tobytes(),
    ]


def decode_requests(frames: Sequence[bytes]) -> Iterator[SubmittedRequest]:
    """Yield the requests of a message; their token ids are views of its last frame."""
    _, heads, window_counts, window_lengths, content = frames
    token_ids = np.frombuffer(content, _TOKEN_IDS)
    lengths = iter(np.frombuffer(window_lengths, _SIZES).tolist())
    counts = iter(np.frombuffer(window_counts, _SIZES).tolist())
    end = 0
    for number, ads, lane, request_id in np.frombuffer(heads, _REQUEST).tolist():
        encoded = []
        for _ in range(ads):
            windows = []
            for _ in range(next(counts)):
                start, end = end, end + next(lengths)
                windows.append(token_ids[start:end])
            encoded.append(EncodedAd(tuple(windows)))
        yield SubmittedRequest(number, _LANES[lane], request_id.decode(), encoded)


def encode_cancellation(numbers: Sequence[int]) -> Frames:
    """Return a message that cancels the requests with these numbers."""
    return [CANCEL, np.array(numbers, _NUMBERS).tobytes()]


def decode_cancellation(frames: Sequence[bytes]) -> list[int]:
    """Return the numbers of the cancelled requests."""
    numbers: list[int] = np.frombuffer(frames[1], _NUMBERS).tolist()
    return numbers


def encode_results(
    results: Sequence[tuple[int, int, float]], probabilities: Sequence[FloatArray]
) -> Frames:
    """Return one message with all results.

    Args:
        results: `number`, `ad` and `batch_started` of each, see `AdResult`.
        probabilities: one array a head and result: those of the first result, then the next.
    """
    return [
        RESULTS,
        np.array(results, _RESULT).tobytes(),
        np.concatenate(probabilities, dtype=np.float32).tobytes(),
    ]


def decode_results(frames: Sequence[bytes]) -> Iterator[AdResult]:
    """Yield the results of a message; their probabilities are views of its last frame."""
    results = np.frombuffer(frames[1], _RESULT).tolist()
    rows = np.frombuffer(frames[2], np.float32).reshape(len(results), -1)
    for (number, ad, batch_started), row in zip(results, rows, strict=True):
        yield AdResult(number, ad, batch_started, row)


def encode_failure(number: int, error: ServiceError) -> Frames:
    """Return a message with the error of a request."""
    kind = _ERRORS.index(type(error))
    retry_after, reason = 0, ""
    if isinstance(error, OverloadedError):
        retry_after, reason = error.retry_after, error.reason
    return [FAILURE, _FAILURE.pack(number, kind, retry_after), reason.encode(), str(error).encode()]


def decode_failure(frames: Sequence[bytes]) -> tuple[int, ServiceError]:
    """Return the failed request's number and its error."""
    number, kind, retry_after = _FAILURE.unpack(frames[1])
    reason, message = frames[2].decode(), frames[3].decode()
    error = _ERRORS[kind]
    if error is OverloadedError:
        return number, OverloadedError(message, retry_after, reason)
    return number, error(message)
