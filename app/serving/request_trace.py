"""One request's way: its id, and how long it stayed in each stage.

A context variable: whatever runs for a request finds its trace with `current`, in tasks that it
starts too.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

TOKENIZE, QUEUE, BATCH, EXPLAIN = "tokenize", "queue", "batch", "explain"


class Trace:
    """Filled in on a request's way; read for its answer's header and its line in the log."""

    __slots__ = (
        "_begun",
        "_clock",
        "_stages",
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
        """Begin now.

        Args:
            request_id: goes into every line that is logged for the request.
            clock: seconds, monotonic.
        """
        self.request_id = request_id
        self.ads = 0
        self.tokens = 0
        self.reason = ""
        """Why the request failed, in one word; empty while it has not."""
        self._clock = clock
        self._begun = clock()
        self._stages: dict[str, float] = {}
        self.stage, self.entered = "", 0.0
        """Where the request is, and since when by the clock."""

    def enter(self, stage: str, at: float | None = None) -> None:
        """Leave the stage before and begin this one, now or at a time of the clock."""
        at = self._clock() if at is None else at
        self._leave(at)
        self.stage, self.entered = stage, at

    def leave(self) -> None:
        """End the stage that the request is in, if any."""
        self._leave(self._clock())

    def _leave(self, at: float) -> None:
        if self.stage:
            self._stages = self._until(at)
            self.stage = ""

    def merge(self, stages: Mapping[str, float], tokens: int) -> None:
        """Add the seconds in stages, and the tokens, of a part that went its way elsewhere."""
        for stage, seconds in stages.items():
            self._stages[stage] = self._stages.get(stage, 0.0) + seconds
        self.tokens += tokens

    def stages(self) -> dict[str, float]:
        """Return the seconds in each stage, in order; in the one it is in, up to now.

        They do not overlap, so their sum is never above `seconds`.
        """
        return self._until(self._clock()) if self.stage else self._stages

    def _until(self, at: float) -> dict[str, float]:
        before = self._stages.get(self.stage, 0.0)
        return {**self._stages, self.stage: before + at - self.entered}

    @property
    def seconds(self) -> float:
        """Seconds since the request began."""
        return self._clock() - self._begun

    def server_timing(self) -> str:
        """Write the stages and the total so far, in milliseconds, as W3C's Server Timing has it."""
        times = {**self.stages(), "total": self.seconds}
        return ", ".join(f"{name};dur={seconds * 1000:.2f}" for name, seconds in times.items())


_current: ContextVar[Trace] = ContextVar("trace")


def set_current(trace: Trace) -> None:
    """Let `current` return this trace from here on, in this task and those it starts."""
    _current.set(trace)


def current() -> Trace:
    """Return the trace of the request that this code runs for; outside of any, an unread one."""
    return _current.get(None) or Trace()


@contextmanager
def detached() -> Iterator[None]:
    """Inside of the block, `current` returns another trace of the same request, read by nobody.

    For work beside the request's own, whose ads and stages are not to be taken for it.
    """
    trace = current()
    set_current(Trace(trace.request_id))
    try:
        yield
    finally:
        set_current(trace)
