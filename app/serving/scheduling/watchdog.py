"""The watchdog: detects an engine that hangs or whose threads have ended."""

import asyncio
import threading
from collections.abc import Callable

TICK_SECONDS = 1.0
TOLERANCE = 10.0
"""A batch may take `hang_seconds` plus its expected seconds times this."""


class Watchdog:
    """Watches running batches and the engine's threads, and reports a failure.

    It counts its own ticks instead of reading a clock: time in which the process was paused, or the
    machine too busy to run it, does not count against a batch.

    Args:
        hang_seconds: what a batch may take beyond `TOLERANCE` times its expected seconds.
        on_failure: called with what happened, at every tick from then on.
    """

    def __init__(self, hang_seconds: float, on_failure: Callable[[str], None]) -> None:
        self._hang_seconds, self._on_failure = hang_seconds, on_failure
        self._seconds_left: dict[object, float] = {}
        self._threads: list[threading.Thread] = []

    def watch_current_thread(self) -> None:
        """Watch the calling thread, which must live as long as the engine."""
        self._threads.append(threading.current_thread())

    def begin(self, batch: object, expected_seconds: float) -> None:
        """Watch a batch that the engine has started."""
        self._seconds_left[batch] = self._hang_seconds + TOLERANCE * expected_seconds

    def end(self, batch: object) -> None:
        """Stop watching a batch."""
        del self._seconds_left[batch]

    async def run(self) -> None:
        """Tick every `TICK_SECONDS` until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.tick()

    def tick(self) -> None:
        """Count one tick; report a thread that has ended or a batch that has no time left."""
        if not all(thread.is_alive() for thread in self._threads):
            self._on_failure("a thread of the engine has ended")
        for batch in self._seconds_left:
            self._seconds_left[batch] -= TICK_SECONDS
        if any(left < 0 for left in self._seconds_left.values()):
            self._on_failure("a batch does not come back")
