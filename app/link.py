"""The link between the supervisor and each of its processes: what they tell each other.

A child obeys nothing else. When the supervisor is gone, so is its end of the link, and the child
ends.
"""

import asyncio
import os
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from app.folder import Folder
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Start:
    """The first message to a child: what it is told at its begin."""

    name: str
    number: int
    """Of a front end, its row of the ledger; of an engine process, its account there."""
    settings: Settings
    folder: Folder
    identity: str = ""
    """Of a front end: told from the one that it replaces."""
    listener: int = -1
    """Of a front end: the descriptor of the socket to accept from."""
    engines: int = 0
    """Of a front end that replaces one: how many engines are ready already."""
    engine: str = ""
    """Of an engine process: the name of what computes."""


@dataclass(frozen=True, slots=True)
class Ready:
    """From a child: a front end answers probes, an engine process ads, as `what` says."""

    what: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Devices:
    """From the first engine process: the devices that there is an engine process to be for."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """From a child: it cannot begin, or cannot go on; one sentence."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Serve:
    """To a front end: all engines are ready, so many of them."""

    engines: int


@dataclass(frozen=True, slots=True)
class Gone:
    """To an engine process: a front end is no more."""

    identity: str


@dataclass(frozen=True, slots=True)
class Lost:
    """To a front end: an engine is lost."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Drain:
    """To a child: finish what was accepted, and end."""


Message = Ready | Devices | Failed | Serve | Gone | Lost | Drain


class Link:
    """A child's end."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self._connection = connection
        self.start: Start = connection.recv()
        self._lock = threading.Lock()
        self._early: list[Message] = []
        self._hear: Callable[[Message], object] = self._early.append
        threading.Thread(target=self._listen, name="link", daemon=True).start()

    @classmethod
    def from_command_line(cls) -> "Link":
        """Take the descriptor that is the last word."""
        return cls(Connection(int(sys.argv[-1])))

    def tell(self, message: Message) -> None:
        """Send a message to the supervisor."""
        self._connection.send(message)

    def hear(self, hear: Callable[[Message], object]) -> None:
        """Call `hear` in this event loop for every message that came or comes."""
        loop = asyncio.get_running_loop()
        with self._lock:
            early, self._early = self._early, []
            self._hear = lambda message: loop.call_soon_threadsafe(hear, message)
            for message in early:
                self._hear(message)

    def _listen(self) -> None:
        # A thread, since this has to work while the event loop does not.
        try:
            while True:
                message = self._connection.recv()
                with self._lock:
                    self._hear(message)
        except (EOFError, OSError):
            # Killed, it could not clear up.
            shutil.rmtree(self.start.folder.path, ignore_errors=True)
            os._exit(1)
