"""When a call is tried again, and how long after."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.client.errors import BusyError, CallError, UnreachableError


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call is tried, within its timeout.

    Only what may go better next time is tried again: an answer of 429 or 503, or none at all. What
    a call asks for changes nothing in the service, so that it may be asked for twice.
    """

    tries: int = 10
    """In all; of a stream, without an answer in between."""
    first_pause: float = 0.25
    """Seconds; the longest pause doubles with each try."""
    longest_pause: float = 20.0
    """Seconds; `Retry-After` may be longer, and is obeyed."""

    def __post_init__(self) -> None:
        if self.tries < 1 or self.first_pause < 0 or self.longest_pause < 0:
            raise ValueError("a call is tried at least once, and no pause is below 0 s")


class Attempts:
    """The tries of one call, and the time that is left to it."""

    def __init__(
        self,
        retries: Retries,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Begin.

        Args:
            retries: how often.
            seconds: for all tries and the pauses between them.
            clock: seconds, monotonic.
            uniform: draws between two bounds.
        """
        if not seconds > 0:
            raise ValueError("a timeout is above 0 s")
        self._retries, self._seconds = retries, seconds
        self._clock, self._uniform = clock, uniform
        self.succeed()

    def succeed(self) -> None:
        """Count from here on anew, as something was answered."""
        self._failed = 0
        self._end = self._clock() + self._seconds

    @property
    def seconds_left(self) -> float:
        """Seconds until the call has to be answered; above 0."""
        return max(self._end - self._clock(), 0.001)

    def pause(self, error: CallError) -> float:
        """Return how many seconds to wait before the next try.

        "Full jitter" (Brooker 2015, Exponential Backoff and Jitter): everyone who was sent away
        at once comes back at another time. It is added to what `Retry-After` says.

        Raises:
            CallError: `error` itself, where trying again is no use or there is no time for it.
        """
        self._failed += 1
        if not isinstance(error, BusyError | UnreachableError):
            raise error
        most = self._retries.first_pause * 2.0 ** min(self._failed - 1, 60)
        seconds = self._uniform(0.0, min(most, self._retries.longest_pause))
        if isinstance(error, BusyError):
            seconds += error.retry_after or 0.0
        if self._failed >= self._retries.tries or self._clock() + seconds >= self._end:
            raise error
        return seconds
