"""How the server ends: accepted work first, and what is new is refused until it is done."""

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
    """uvicorn's server, which listens until the application has drained.

    By itself it closes its socket and its idle connections first and tells the application last, so
    that a client would find a closed door instead of a 503.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the application drain while it goes on answering, then close everything."""
        await self.lifespan.shutdown()
        await super().shutdown(sockets)

    def handle_signals(self) -> None:
        """Handle SIGTERM and SIGINT from here on, though the server may not run yet."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        # Until there is a model that could be replaced; it would end the process.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Do nothing: they are handled already, and need not be sent once more in the end."""
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain at the first signal; end the process at the second one."""
        if self.should_exit:
            log.warning("ended by a second signal; what was unfinished is lost")
            # Nothing orderly: it might wait for the very thing that hangs. No default handler
            # either, which a container's first process does not have.
            os._exit(128 + sig)
        super().handle_exit(sig, frame)
