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


def test_another_server_cannot_join_sockets_with_reuse_port():
    sockets = listen_reuse_port("127.0.0.1", 0, 3)
    port = sockets[0].getsockname()[1]
    assert {one.getsockname()[1] for one in sockets} == {port}
    for listen_again in (
        lambda: listen("127.0.0.1", port),
        lambda: listen_reuse_port("127.0.0.1", port, 2),
    ):
        with pytest.raises(
            SettingsError, match=rf"Cannot listen on 127\.0\.0\.1:{port}: .* in use"
        ):
            listen_again()
    for one in sockets:
        one.close()


def test_connections_are_spread_over_sockets_with_reuse_port():
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
    # Linux chooses by a hash of the addresses: 12 or fewer of 64 happen once in a million runs.
    assert sum(counts.values()) == 64
    assert min(counts[0], counts[1]) > 12
