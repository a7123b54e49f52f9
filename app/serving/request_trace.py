"""The trace of a request: its id, and the seconds it spent in each stage.

It is kept in a context variable: code that runs for a request gets its trace with `current`, also
in tasks that the request starts.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

TOKENIZE, QUEUE, BATCH, EXPLAIN = "tokenize", "queue", "batch", "explain"


class Trace:
    """Id, ads, tokens and stage times of one request, for its answer's header and its log line.

    Args:
        request_id: appears in every log line of the request.
        clock: seconds, monotonic.
    """

    __slots__ = (
        "_clock",
        "_stages",
        "_started",
        "ads",
        "entered",
        "reason",
        "request_id",
        "stage",
        "tokens",
    )

    def __init__(
        self, request_id: str = "", clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.request_id = request_id
        self.ads = 0
        self.tokens = 0
        self.reason = ""
        """Why the request failed, in one word; empty if it has not failed."""
        self._clock = clock
        self._started = clock()
        self._stages: dict[str, float] = {}
        self.stage, self.entered = "", 0.0
        """The request's stage, empty between stages, and the clock's time when it entered it."""

    def enter(self, stage: str, at: float | None = None) -> None:
        """End the current stage, if any, and start this one now, or at the clock's time `at`."""
        at = self._clock() if at is None else at
        self._leave(at)
        self.stage, self.entered = stage, at

    def leave(self) -> None:
        """End the current stage, if any."""
        self._leave(self._clock())

    def _leave(self, at: float) -> None:
        if self.stage:
            self._stages = self._until(at)
            self.stage = ""

    def merge(self, stages: Mapping[str, float], tokens: int) -> None:
        """Add the stage seconds and tokens that another process measured for this request."""
        for stage, seconds in stages.items():
            self._stages[stage] = self._stages.get(stage, 0.0) + seconds
        self.tokens += tokens

    def stages(self) -> dict[str, float]:
        """Return the seconds in each stage, in order of entry; the current stage counts up to now.

        Stages do not overlap, so their sum is never above `seconds`.
        """
        return self._until(self._clock()) if self.stage else self._stages

    def _until(self, at: float) -> dict[str, float]:
        before = self._stages.get(self.stage, 0.0)
        return {**self._stages, self.stage: before + at - self.entered}

    @property
    def seconds(self) -> float:
        """Seconds since the request started."""
        return self._clock() - self._started

    def server_timing(self) -> str:
        """Return the value of a `Server-Timing` header (W3C): stages and total in milliseconds."""
        times = {**self.stages(), "total": self.seconds}
        return ", ".join(f"{name};dur={seconds * 1000:.2f}" for name, seconds in times.items())


_current: ContextVar[Trace] = ContextVar("trace")


def set_current(trace: Trace) -> None:
    """Make `current` return this trace from now on, in this task and in tasks that it starts."""
    _current.set(trace)


def current() -> Trace:
    """Return the trace of the request that is being handled; outside of any, a new, unused one."""
    return _current.get(None) or Trace()


@contextmanager
def detached() -> Iterator[None]:
    """Inside the block, `current` returns a throw-away trace with the same request id.

    For extra work whose ads and stages must not count as the request's own.
    """
    trace = current()
    set_current(Trace(trace.request_id))
    try:
        yield
    finally:
        set_current(trace)
