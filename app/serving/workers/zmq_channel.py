"""A ZeroMQ socket in an event loop."""

import asyncio
from collections.abc import Callable

import zmq


class Channel:
    """Sends at once and hands over what comes, without a task or a future for a message.

    The library's own asyncio sockets have both, and are several times slower.
    """

    def __init__(self, socket: zmq.Socket[bytes], receive: Callable[[list[bytes]], None]) -> None:
        """Take a bound or connected socket, and whom to give the frames of each message to."""
        self._socket, self._receive = socket, receive
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(socket.FD, self._read)
        self._looking = False

    def send(self, frames: list[bytes]) -> None:
        """Hand a message to the library."""
        self._socket.send_multipart(frames, zmq.NOBLOCK)
        self._look()

    def close(self) -> None:
        """Take and give nothing more; again and again does no harm."""
        if self._socket.closed:
            return
        self._loop.remove_reader(self._socket.FD)
        self._socket.close(linger=0)

    def _look(self) -> None:
        # The descriptor tells once that something came, and sending may take notice of it.
        if not self._looking:
            self._looking = True
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        self._looking = False
        while not self._socket.closed and int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._receive(self._socket.recv_multipart(zmq.NOBLOCK))


def unlimited(context: zmq.Context[zmq.Socket[bytes]], kind: int) -> zmq.Socket[bytes]:
    """Return a socket that drops nothing: what is in flight is limited where it is admitted."""
    socket = context.socket(kind)
    socket.set_hwm(0)
    return socket
