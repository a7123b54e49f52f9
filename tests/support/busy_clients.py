"""Clients that keep a server busy, with the default retries, and a record of their calls."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.client import CallError, ClassifyResponse, DoppelkopfClient

RATE_WINDOW = 3.0
"""Seconds over which a rate is measured."""


@dataclass
class BusyClients:
    """Sends ads to a server from several threads and records answers and failures."""

    address: str
    answered: list[tuple[float, int, ClassifyResponse]] = field(default_factory=list)
    """For each answer: its time by `time.monotonic`, the words of the ad, and the response."""
    failed: list[str] = field(default_factory=list)
    sent: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self, first: int) -> None:
        """Send ads of 4 to 11 words one after the other until `stop` is called.

        Args:
            first: the number of the first ad, on which its length depends.
        """
        with DoppelkopfClient(self.address) as client:
            while not self._stop.is_set():
                words = 4 + (first := first + 1) % 8
                self.sent += 1
                try:
                    answer = client.classify("Koch " * words)
                except CallError as error:
                    self.failed.append(str(error))
                else:
                    self.answered.append((time.monotonic(), words, answer))

    def rate(self, end: float) -> float:
        """Return the ads a second that were answered in the window before `end`."""
        return sum(end - RATE_WINDOW < at <= end for at, _, _ in self.answered) / RATE_WINDOW

    def recovery_seconds(self, since: float, rate: float) -> float | None:
        """Return the seconds from `since` until 95 % of `rate` were reached again, None if not yet.

        The rate must have fallen below 80 % before.
        """
        has_fallen = False
        for at, _, _ in list(self.answered):
            if at > since:
                has_fallen = has_fallen or self.rate(at) < rate * 0.8
                if has_fallen and self.rate(at) >= rate * 0.95:
                    return at - since
        return None

    def stop(self) -> None:
        """Let the threads end after their current call."""
        self._stop.set()


@contextmanager
def busy_clients(address: str, count: int) -> Iterator[BusyClients]:
    """Keep a server busy with `count` threads inside the block; all calls have ended after it."""
    made = BusyClients(address)
    threads = [threading.Thread(target=made.run, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        made.stop()
        for thread in threads:
            thread.join()
