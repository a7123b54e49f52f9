"""A ZeroMQ socket in an event loop."""

import asyncio
from collections.abc import Callable

import zmq


class ZmqChannel:
    """Sends messages at once, and calls a function for each message that arrives.

    It needs no task or future for each message, as the asyncio sockets of pyzmq do, which makes it
    several times faster.
    """

    def __init__(
        self, socket: zmq.Socket[bytes], on_message: Callable[[list[bytes]], None]
    ) -> None:
        """Start to read inside the running event loop.

        Args:
            socket: bound or connected.
            on_message: called with the frames of each message.
        """
        self._socket, self._on_message = socket, on_message
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(socket.FD, self._read)
        self._read_scheduled = False

    def send(self, frames: list[bytes]) -> None:
        """Queue a message; the library's own thread sends it."""
        self._socket.send_multipart(frames, zmq.NOBLOCK)
        # The descriptor signals an event once, and sending may consume that signal.
        if not self._read_scheduled:
            self._read_scheduled = True
            self._loop.call_soon(self._read)

    def close(self) -> None:
        """Stop reading and close the socket; further calls do nothing."""
        if self._socket.closed:
            return
        self._loop.remove_reader(self._socket.FD)
        self._socket.close(linger=0)

    def _read(self) -> None:
        self._read_scheduled = False
        while not self._socket.closed and int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._on_message(self._socket.recv_multipart(zmq.NOBLOCK))


def unlimited_socket(context: zmq.Context[zmq.Socket[bytes]], kind: int) -> zmq.Socket[bytes]:
    """Return a socket without a high-water mark: it never drops a message.

    Admission control limits what is in flight.
    """
    socket = context.socket(kind)
    socket.set_hwm(0)
    return socket
