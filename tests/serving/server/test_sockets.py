import socket
from collections import Counter

import pytest

from app.core.errors import SettingsError
from app.serving.server.sockets import listen, listen_reuse_port


def test_a_taken_port_is_refused_in_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError) as caught:
            listen("127.0.0.1", port)
    assert str(caught.value) == (
        f"Cannot listen on 127.0.0.1:{port}: address already in use; "
        "set HOST and PORT to a free address."
    )


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(SettingsError, match=r"Cannot listen on 192\.0\.2\.1"):
        listen("192.0.2.1", 0)


def test_sockets_that_listen_reuse_port_share_an_address_with_nobody_else():
    sockets = listen_reuse_port("127.0.0.1", 0, 3)
    port = sockets[0].getsockname()[1]
    assert {one.getsockname()[1] for one in sockets} == {port}
    for take in (
        lambda: listen("127.0.0.1", port),
        lambda: listen_reuse_port("127.0.0.1", port, 2),
    ):
        with pytest.raises(
            SettingsError, match=rf"Cannot listen on 127\.0\.0\.1:{port}: .* in use"
        ):
            take()
    for one in sockets:
        one.close()


def test_connections_are_spread_over_sockets_that_listen_reuse_port():
    sockets = listen_reuse_port("127.0.0.1", 0, 2)
    clients = [socket.create_connection(sockets[0].getsockname()) for _ in range(64)]
    counts: Counter[int] = Counter()
    for number, one in enumerate(sockets):
        one.setblocking(False)
        try:
            while True:
                one.accept()[0].close()
                counts[number] += 1
        except BlockingIOError:
            one.close()
    for client in clients:
        client.close()
    # By their addresses, at random: never so few in 64 but once in a million times.
    assert sum(counts.values()) == 64
    assert min(counts[0], counts[1]) > 12
