"""A child process's end of its control link to the supervisor.

A child is controlled through this link only. When the supervisor ends, the link closes and the
child ends too.
"""

import asyncio
import os
import shutil
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from app.serving.workers.control_messages import Message, StartProcess


class ControlLink:
    """Sends messages to the supervisor and hands its messages to a callback.

    The first message is a `StartProcess`, kept as `start`. Later ones are buffered until
    `on_message` sets a callback.
    """

    def __init__(
        self, connection: "Connection[Any, Any]", end_process: Callable[[int], object] = os._exit
    ) -> None:
        """Wait for the first message, then receive in a thread.

        Args:
            connection: to the supervisor.
            end_process: called with the exit code when the supervisor has ended.
        """
        self._connection, self._end_process = connection, end_process
        self.start: StartProcess = connection.recv()
        self._lock = threading.Lock()
        self._early: list[Message] = []
        self._deliver: Callable[[Message], object] = self._early.append
        threading.Thread(target=self._receive, name="link", daemon=True).start()

    @classmethod
    def from_command_line(cls) -> "ControlLink":
        """Open the file descriptor that is the last argument of the command line."""
        return cls(Connection(int(sys.argv[-1])))

    def send(self, message: Message) -> None:
        """Send a message to the supervisor."""
        self._connection.send(message)

    def on_message(self, callback: Callable[[Message], object]) -> None:
        """Call `callback` in this event loop for every message, buffered ones first.

        It replaces an earlier callback.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            early, self._early = self._early, []
            self._deliver = lambda message: loop.call_soon_threadsafe(callback, message)
            for message in early:
                self._deliver(message)

    def _receive(self) -> None:
        # A thread, because it has to notice the supervisor's end while the event loop is blocked.
        try:
            while True:
                message = self._connection.recv()
                with self._lock:
                    self._deliver(message)
        except (EOFError, OSError):
            # A supervisor that was killed could not remove the folder itself.
            shutil.rmtree(self.start.folder.path, ignore_errors=True)
            self._end_process(1)
