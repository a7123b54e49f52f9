"""The socket that the server listens on, and the files that its connections take."""

import resource
import socket

from app.core.errors import SettingsError

BACKLOG = 65535
"""Connections that wait to be accepted; the system lowers it to its own limit (net.core.somaxconn).
"""

MAX_FILES = 65536


def allow_many_connections() -> None:
    """Raise the process's limit of open files, one a connection, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def listen(host: str, port: int) -> socket.socket:
    """Take the address, before anything slow begins.

    Raises:
        SettingsError: the address is taken or not of this machine.
    """
    # Listening at once makes a second server on the same port fail here and not later.
    return _listen(host, port, together=False)


def listen_together(host: str, port: int, count: int) -> list[socket.socket]:
    """Take the address with a socket for each of several processes, as `listen` does.

    Linux spreads connections over them evenly. Over processes that share one socket it does not:
    of 32 connections opened at once, up to 32 went to one of four processes.
    """
    # Alone first: sockets that may listen together would do so with those of another server too.
    with listen(host, port) as alone:
        taken: int = alone.getsockname()[1]
    return [_listen(host, taken, together=True) for _ in range(count)]


def _listen(host: str, port: int, *, together: bool) -> socket.socket:
    try:
        return socket.create_server(
            (host, port),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            backlog=BACKLOG,
            reuse_port=together,
        )
    except OSError as error:
        # Python puts the address behind the reason once more, in a bracket.
        reason = (error.strerror or str(error)).partition(" (while ")[0].lower()
        raise SettingsError(
            f"Cannot listen on {host}:{port}: {reason}; set HOST and PORT to a free address."
        ) from error
