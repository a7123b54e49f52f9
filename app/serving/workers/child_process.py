"""A process that the supervisor started, with the supervisor's end of its control link."""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from app.serving.workers.control_messages import Message, StartProcess

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""The signals that end the service. Children ignore them, so that a terminal's Ctrl-C, which
reaches the whole process group, is handled by the supervisor alone."""

ENVIRONMENT = {
    # A front end uses one core; threads of the libraries would compete with the other processes.
    "app.serving.workers.frontend": {
        "TOKENIZERS_PARALLELISM": "false",
        "OPENBLAS_NUM_THREADS": "1",
    },
    "app.serving.workers.engine_process": {},
}
"""Environment variables of each child module, unless the supervisor's environment has them."""


@dataclass(eq=False)
class ChildProcess:
    """A front end or an engine process; `ready` once it has sent a `ProcessReady`."""

    start: StartProcess
    process: "subprocess.Popen[bytes]"
    link: "Connection[Any, Any]"
    ready: bool = False

    @classmethod
    def spawn(
        cls, module: str, start: StartProcess, inherited: Sequence[int] = ()
    ) -> "ChildProcess":
        """Start a process and send it its first message.

        Args:
            module: the module to run; it makes a `ControlLink` from its command line.
            start: the first message.
            inherited: file descriptors that the process inherits.

        Raises:
            OSError: the system cannot start another process.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(  # noqa: S603  this program itself
                # -P and PYTHONPATH: it imports the same modules as this process, and none from the
                # current folder.
                [sys.executable, "-P", "-m", module, start.name, str(theirs.fileno())],
                env={
                    **ENVIRONMENT[module],
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
                    # The Prometheus client reads it at import.
                    "PROMETHEUS_MULTIPROC_DIR": str(start.folder.metrics),
                },
                pass_fds=[theirs.fileno(), *inherited],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_ignore_signals,
            )
        child = cls(start, process, Connection(ours.detach()))
        child.send(start)
        return child

    def send(self, message: StartProcess | Message) -> None:
        """Send a message; it is dropped if the process has ended, which closes its link."""
        try:
            self.link.send(message)
        except OSError:
            log.debug("%s has ended and gets no message", self.start.name)

    def wait(self) -> str:
        """Close the link, wait for the process to end, and return how it ended."""
        self.link.close()
        code = self.process.wait()
        return f"by signal {-code}" if code < 0 else f"with code {code}"


def _ignore_signals() -> None:
    for number in (*SIGNALS, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
