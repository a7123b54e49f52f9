"""A uvicorn server that finishes accepted requests and refuses new ones with 503 before it ends."""

import logging
import os
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

import uvicorn

log = logging.getLogger(__name__)


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which keeps listening until the application has drained.

    By default uvicorn closes its socket and idle connections first and notifies the application
    last; new clients would then get a refused connection instead of a 503.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the application drain while it still answers, then close all connections."""
        await self.lifespan.shutdown()
        await super().shutdown(sockets)

    def handle_signals(self) -> None:
        """Install the handlers of SIGTERM and SIGINT; call it before the server runs."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        # By default SIGHUP ends the process; until a model is loaded there is nothing to reload.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Replace uvicorn's own handlers, which would raise the signal once more at the end."""
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start to drain at the first signal; end the process at the second one."""
        if self.should_exit:
            log.warning("ended by a second signal; unfinished requests are lost")
            # An orderly exit might wait for the very thread that hangs, and the default signal
            # handler does nothing in the first process of a container.
            os._exit(128 + sig)
        super().handle_exit(sig, frame)
