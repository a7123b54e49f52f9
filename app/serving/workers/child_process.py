"""A process that the supervisor starts, and the supervisor's end of the link to it."""

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

from app.serving.workers.control_messages import Message, Start

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""End the service. Sent to a whole group, as by a terminal, they are the supervisor's to judge."""

ENVIRONMENT = {
    # A front end is a core's worth of work; the libraries' own threads would be in others' way.
    "app.serving.workers.frontend": {
        "TOKENIZERS_PARALLELISM": "false",
        "OPENBLAS_NUM_THREADS": "1",
    },
    "app.serving.workers.engine_process": {},
}


@dataclass(eq=False)
class Child:
    """One process, by what it was told at its begin."""

    start: Start
    process: "subprocess.Popen[bytes]"
    link: "Connection[Any, Any]"
    ready: bool = False

    @classmethod
    def begin(cls, module: str, start: Start, inherited: Sequence[int] = ()) -> "Child":
        """Start a process.

        Args:
            module: makes a `Link` of the last word of its command line.
            start: the first message to it.
            inherited: descriptors that it keeps.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(  # noqa: S603  ourselves
                # -P, and the path below: it imports what this process does, wherever it is started.
                [sys.executable, "-P", "-m", module, start.name, str(theirs.fileno())],
                env={
                    **ENVIRONMENT[module],
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
                    # Has to be there before the library is imported.
                    "PROMETHEUS_MULTIPROC_DIR": str(start.folder.metrics),
                },
                pass_fds=[theirs.fileno(), *inherited],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_ignore_signals,
            )
        child = cls(start, process, Connection(ours.detach()))
        child.tell(start)
        return child

    def tell(self, message: Start | Message) -> None:
        """Send a message; whoever has ended is heard of elsewhere."""
        try:
            self.link.send(message)
        except OSError:
            log.debug("%s hears nothing any more", self.start.name)


def _ignore_signals() -> None:
    for number in (*SIGNALS, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
