"""Decides whether a failed call is retried, and after how long a pause."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.client.errors import BusyError, CallError, UnreachableError


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and after which pauses a call is retried, within its timeout.

    Answers of 429 and 503 and requests without an answer are retried. This is safe, since requests
    change nothing in the service.
    """

    tries: int = 10
    """Number of attempts of a call; a stream counts anew after each answer."""
    first_pause: float = 0.25
    """Upper bound of the first pause in seconds; it doubles with each attempt."""
    longest_pause: float = 20.0
    """Upper bound of all pauses in seconds, to which the service's `Retry-After` is added."""

    def __post_init__(self) -> None:
        if self.tries < 1 or self.first_pause < 0 or self.longest_pause < 0:
            raise ValueError("a call is tried at least once, and no pause is below 0 s")


class Attempts:
    """Counts the attempts of one call and the time it has left.

    Args:
        retries: number of attempts and length of pauses.
        seconds: for all attempts and the pauses between them.
        clock: monotonic time in seconds.
        uniform: returns a random number between two bounds.

    Raises:
        ValueError: `seconds` is not above 0.
    """

    def __init__(
        self,
        retries: Retries,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        if not seconds > 0:
            raise ValueError("a timeout is above 0 s")
        self._retries, self._seconds = retries, seconds
        self._clock, self._uniform = clock, uniform
        self.reset()

    def reset(self) -> None:
        """Start counting attempts and time anew, after an answer of a stream."""
        self._failed = 0
        self._end = self._clock() + self._seconds

    @property
    def seconds_left(self) -> float:
        """Seconds until the timeout of the call; above 0."""
        return max(self._end - self._clock(), 0.001)

    def pause_after(self, error: CallError) -> float:
        """Count a failed attempt; return the seconds to wait before the next one.

        It is a random number up to a bound that doubles each time ("full jitter", Brooker 2015,
        "Exponential Backoff and Jitter"), so that clients rejected together do not return together;
        plus the service's `Retry-After`.

        Raises:
            CallError: `error` itself, if its kind is not retried, or no attempt or time is left.
        """
        self._failed += 1
        if not isinstance(error, BusyError | UnreachableError):
            raise error
        bound = self._retries.first_pause * 2.0 ** min(self._failed - 1, 60)
        seconds = self._uniform(0.0, min(bound, self._retries.longest_pause))
        if isinstance(error, BusyError):
            seconds += error.retry_after or 0.0
        if self._failed >= self._retries.tries or self._clock() + seconds >= self._end:
            raise error
        return seconds
