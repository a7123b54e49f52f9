"""What front ends and engine processes send each other: arrays laid end to end, nothing per ad.

A message is a list of frames; the first, one byte, tells its kind. Both ends are of one version and
on one machine, so that numbers have the machine's own byte order.
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
from app.core.types import Encoded, FloatArray
from app.serving.scheduling.lanes import Lane

SUBMIT, CANCEL, GIVE_UP = b"S", b"C", b"G"
"""From a front end: requests; numbers of requests that nobody waits for; finish no more than what
has begun."""

RESULTS, FAILURE = b"R", b"F"
"""To a front end: probabilities of ads; a request that failed."""

REQUEST = np.dtype([("number", "u8"), ("ads", "u4"), ("lane", "u1"), ("request_id", "S128")])
RESULT = np.dtype([("number", "u8"), ("ad", "u4"), ("begun", "f8")])
_NUMBERS = np.dtype("u8")
_SIZES = np.dtype("u4")
_IDS = np.dtype("i4")
_FAILURE = struct.Struct("QBQ")

_LANES = tuple(Lane)
_ERRORS: tuple[type[ServiceError], ...] = (
    EngineError, FatalEngineError, NotReadyError, OverloadedError,
)  # fmt: skip

Frames = list[bytes]


@dataclass(frozen=True, slots=True)
class Submission:
    """An admitted request; `number` is its front end's own."""

    number: int
    lane: Lane
    request_id: str
    encoded: Sequence[Encoded]


@dataclass(frozen=True, slots=True)
class Result:
    """One ad's probabilities, those of all heads in one row, and when its batch began.

    `begun` counts as `time.perf_counter` does, which is one clock for all processes of a machine.
    """

    number: int
    ad: int
    begun: float
    row: FloatArray


def submit(submissions: Sequence[Submission]) -> Frames:
    """Lay requests end to end."""
    ads = [encoded for one in submissions for encoded in one.encoded]
    windows = [window for encoded in ads for window in encoded.windows]
    requests = [
        (one.number, len(one.encoded), _LANES.index(one.lane), one.request_id.encode())
        for one in submissions
    ]
    return [
        SUBMIT,
        np.array(requests, REQUEST).tobytes(),
        np.array([len(encoded.windows) for encoded in ads], _SIZES).tobytes(),
        np.array([len(window) for window in windows], _SIZES).tobytes(),
        np.concatenate(windows, dtype=_IDS).tobytes(),
    ]


def submissions(frames: Sequence[bytes]) -> Iterator[Submission]:
    """Read what `submit` wrote. The ids are views of the message."""
    _, requests, counts, lengths, content = frames
    ids = np.frombuffer(content, _IDS)
    sizes = iter(np.frombuffer(lengths, _SIZES).tolist())
    windows_of = iter(np.frombuffer(counts, _SIZES).tolist())
    end = 0
    for number, ads, lane, request_id in np.frombuffer(requests, REQUEST).tolist():
        encoded = []
        for _ in range(ads):
            windows = []
            for _ in range(next(windows_of)):
                start, end = end, end + next(sizes)
                windows.append(ids[start:end])
            encoded.append(Encoded(tuple(windows)))
        yield Submission(number, _LANES[lane], request_id.decode(), encoded)


def cancel(numbers: Sequence[int]) -> Frames:
    """Name requests by their numbers."""
    return [CANCEL, np.array(numbers, _NUMBERS).tobytes()]


def cancelled(frames: Sequence[bytes]) -> list[int]:
    """Read what `cancel` wrote."""
    numbers: list[int] = np.frombuffer(frames[1], _NUMBERS).tolist()
    return numbers


def send_results(found: Sequence[tuple[int, int, float]], rows: Sequence[FloatArray]) -> Frames:
    """Lay results end to end.

    Args:
        found: of each its request's number, the ad's place in it, and when its batch began.
        rows: what follows each other in `Result.row`; as many arrays for every result.
    """
    return [
        RESULTS,
        np.array(found, RESULT).tobytes(),
        np.concatenate(rows, dtype=np.float32).tobytes(),
    ]


def results(frames: Sequence[bytes]) -> Iterator[Result]:
    """Read what `send_results` wrote."""
    found = np.frombuffer(frames[1], RESULT).tolist()
    rows = np.frombuffer(frames[2], np.float32).reshape(len(found), -1)
    for (number, ad, begun), row in zip(found, rows, strict=True):
        yield Result(number, ad, begun, row)


def fail(number: int, error: ServiceError) -> Frames:
    """Say why a request failed."""
    kind = _ERRORS.index(type(error))
    retry_after, reason = 0, ""
    if isinstance(error, OverloadedError):
        retry_after, reason = error.retry_after, error.reason
    return [FAILURE, _FAILURE.pack(number, kind, retry_after), reason.encode(), str(error).encode()]


def failure(frames: Sequence[bytes]) -> tuple[int, ServiceError]:
    """Read what `fail` wrote: the request's number, and its error."""
    number, kind, retry_after = _FAILURE.unpack(frames[1])
    reason, message = frames[2].decode(), frames[3].decode()
    error = _ERRORS[kind]
    if error is OverloadedError:
        return number, OverloadedError(message, retry_after, reason)
    return number, error(message)
