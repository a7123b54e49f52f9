"""Clients that keep a server busy, each with the ordinary retries, and what became of their ads."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.client import CallError, ClassifyResponse, DoppelkopfClient

WINDOW = 3.0
"""Seconds over which a rate is taken."""


@dataclass
class Clients:
    """What was asked and answered so far."""

    address: str
    answered: list[tuple[float, int, ClassifyResponse]] = field(default_factory=list)
    """When, how many words the ad had, and the answer."""
    failed: list[str] = field(default_factory=list)
    sent: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self, first: int) -> None:
        """Send one ad after the other, of another length each, until told to stop."""
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
        """Return the ads a second that were answered in the window before."""
        return sum(end - WINDOW < at <= end for at, _, _ in self.answered) / WINDOW

    def recovered(self, since: float, rate: float) -> float | None:
        """Return the seconds from `since` until the rate was reached again; None: not yet."""
        lowest = False
        for at, _, _ in list(self.answered):
            if at > since:
                lowest = lowest or self.rate(at) < rate * 0.8
                if lowest and self.rate(at) >= rate * 0.95:
                    return at - since
        return None

    def stop(self) -> None:
        """Send nothing more."""
        self._stop.set()


@contextmanager
def busy(address: str, count: int) -> Iterator[Clients]:
    """Keep a server busy; when the block ends, every ad has been answered or has failed."""
    made = Clients(address)
    threads = [threading.Thread(target=made.run, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        made.stop()
        for thread in threads:
            thread.join()
