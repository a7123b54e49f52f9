"""Connections that clients leave hanging: each gets its time and no more."""

import asyncio
from typing import Any

from app.serving.server.protocol import Protocol

KEEP_ALIVE_SECONDS = 75
"""An idle connection's time: longer than clients and balancers keep theirs, so that they close
first and none sends a request into a connection that is just being closed."""

CLOSING_SECONDS = 3
"""What a connection has left, once the server ends."""


class Connection(Protocol):
    """The server's connection, with an end to waiting for its client.

    A client has `client_seconds` to send a request's head, counted from the connection's opening or
    the head's first byte, and as long again to take an answer and send what is missing of its
    request. Between them the application rules: `BodyDeadline` answers a slow body.
    """

    def __init__(self, *args: Any, client_seconds: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._client_seconds = client_seconds
        self._limit: asyncio.TimerHandle | None = None
        self._in_message = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._limit_wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._end_wait()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Let the first bytes after an answer begin the wait for the next head."""
        if self._limit is None and not self._in_message:
            self._limit_wait()
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Count from a head's first byte."""
        self._limit_wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Leave the request to the application."""
        self._end_wait()
        self._in_message = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that nothing is missing of the request."""
        self._in_message = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin to wait until the client has taken the answer and sent its request's rest."""
        if not self.pipeline and (self._in_message or self._unsent()):
            self._limit_wait()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Begin to wait for a client that takes its answer more slowly than it comes."""
        self._limit_wait()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Go on with the answer; behind its end `on_response_complete` rules."""
        if not self.cycle.response_complete:
            self._end_wait()
        super().resume_writing()

    def shutdown(self) -> None:
        """Close the connection, after its answer if one is due."""
        super().shutdown()
        self.loop.call_later(CLOSING_SECONDS, self.transport.abort)

    def _limit_wait(self) -> None:
        self._end_wait()
        self._limit = self.loop.call_later(self._client_seconds, self._give_up)

    def _end_wait(self) -> None:
        if self._limit:
            self._limit.cancel()
            self._limit = None

    def _unsent(self) -> bool:
        return self.transport.get_write_buffer_size() > 0

    def _give_up(self) -> None:
        self._limit = None
        if self.timeout_keep_alive_task and not self._unsent() and not self._in_message:
            return  # all is done, and what is idle has an end of its own
        # Not close(), which would wait for the client to take what is written.
        self.transport.abort()
