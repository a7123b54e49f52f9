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
from multiprocessing.connection import Connection
from typing import Any

from app.serving.workers.control_messages import Message, Start


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
