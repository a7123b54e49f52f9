"""The watchdog: notices an engine that does not come back."""

import asyncio
import threading
from collections.abc import Callable

TICK_SECONDS = 1.0
TOLERANCE = 10.0
"""How many times its expected seconds a batch may take, beside the seconds that are set."""


class Watchdog:
    """Counts the seconds that each batch has left, and looks whether the engine's threads live.

    It counts its own ticks, not the clock: a process that was paused, or a machine too busy to run
    it, has used none of the engine's time.
    """

    def __init__(self, hang_seconds: float, bark: Callable[[str], None]) -> None:
        """Take the limit and whom to tell.

        Args:
            hang_seconds: what a batch may take beyond `TOLERANCE` times its expected seconds.
            bark: called with what happened.
        """
        self._hang_seconds, self._bark = hang_seconds, bark
        self._left: dict[object, float] = {}
        self._threads: list[threading.Thread] = []

    def enlist(self) -> None:
        """Watch the calling thread, which has to live as long as the engine does."""
        self._threads.append(threading.current_thread())

    def begin(self, batch: object, expected_seconds: float) -> None:
        """Watch a batch that the engine was given."""
        self._left[batch] = self._hang_seconds + TOLERANCE * expected_seconds

    def end(self, batch: object) -> None:
        """Watch it no longer."""
        del self._left[batch]

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.tick()

    def tick(self) -> None:
        """Let one tick's time pass, and bark if a thread has ended or a batch has no time left."""
        if not all(thread.is_alive() for thread in self._threads):
            self._bark("a thread of the engine has ended")
        for batch in self._left:
            self._left[batch] -= TICK_SECONDS
        if any(left < 0 for left in self._left.values()):
            self._bark("a batch does not come back")
