"""Ctrl-C that ends a measurement early but keeps its results."""

import signal
import threading
from types import FrameType
from typing import Protocol


class StopFlag(Protocol):
    """An event of `threading` or `multiprocessing`."""

    def set(self) -> None:
        """Set the flag."""

    def is_set(self) -> bool:
        """Return whether the flag is set."""


class Interrupt:
    """A context manager in which the first Ctrl-C sets a flag; a second one raises as usual.

    Args:
        flag: the flag to set; one that other processes read, too, or by default a new one.
    """

    def __init__(self, flag: StopFlag | None = None) -> None:
        self._flag = threading.Event() if flag is None else flag

    def wanted(self) -> bool:
        """Return whether Ctrl-C was pressed."""
        return self._flag.is_set()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._flag.set()
        signal.signal(signal.SIGINT, self._previous)

    def __enter__(self) -> "Interrupt":
        self._previous = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._previous)
