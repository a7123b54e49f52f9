"""Listening sockets, and the limit of open files that their connections need."""

import resource
import socket

from app.core.errors import SettingsError

BACKLOG = 65535
"""Connections that may wait to be accepted; Linux lowers it to net.core.somaxconn."""

MAX_OPEN_FILES = 65536


def allow_many_connections() -> None:
    """Raise the process's limit of open files, one a connection, up to its hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the address.

    It listens at once, so that a second server on the same port fails here and not after it has
    loaded its model.

    Raises:
        SettingsError: the address is in use or does not belong to this machine.
    """
    return _listen(host, port, reuse_port=False)


def listen_reuse_port(host: str, port: int, count: int) -> list[socket.socket]:
    """Return `count` sockets that listen on the same address (SO_REUSEPORT), one a process.

    Linux spreads new connections evenly over such sockets. Over processes that share one socket it
    does not: of 32 connections opened at once, up to 32 went to one of four processes.

    Raises:
        SettingsError: as `listen`.
    """
    # Without SO_REUSEPORT first: with it, the sockets would join those of another server.
    with listen(host, port) as exclusive:
        bound_port: int = exclusive.getsockname()[1]
    return [_listen(host, bound_port, reuse_port=True) for _ in range(count)]


def _listen(host: str, port: int, *, reuse_port: bool) -> socket.socket:
    try:
        return socket.create_server(
            (host, port),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            backlog=BACKLOG,
            reuse_port=reuse_port,
        )
    except OSError as error:
        # Python appends the address to the reason in brackets.
        reason = (error.strerror or str(error)).partition(" (while ")[0].lower()
        raise SettingsError(
            f"Cannot listen on {host}:{port}: {reason}; set HOST and PORT to a free address."
        ) from error
