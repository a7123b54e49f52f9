"""The user's wish to end a measurement, and to see what it found so far."""

import signal
import threading
from types import FrameType
from typing import Protocol


class Flag(Protocol):
    """An event of threads or of processes."""

    def set(self) -> None:
        """Raise it."""

    def is_set(self) -> bool:
        """Tell whether it is raised."""


class Interrupt:
    """While entered, the first Ctrl-C raises a flag; the second ends the program as ever."""

    def __init__(self, flag: Flag | None = None) -> None:
        """Take the flag to raise, where others look at it too."""
        self._flag = threading.Event() if flag is None else flag

    def wanted(self) -> bool:
        """Tell whether the user wants an end."""
        return self._flag.is_set()

    def _raise(self, _number: int, _frame: FrameType | None) -> None:
        self._flag.set()
        signal.signal(signal.SIGINT, self._before)

    def __enter__(self) -> "Interrupt":
        self._before = signal.signal(signal.SIGINT, self._raise)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)
