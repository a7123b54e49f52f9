"""A real server whose engine is slow and fails on demand."""

import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.faulty_engine import HELD, text_of_tokens
from tests.support.polling import wait_until
from tests.support.server_process import CLUSTER, HTTP, metric, running_process


class FaultyServer:
    """A running server with a `FaultyEngine`, and the requests that tests send to it.

    Args:
        address: such as `http://127.0.0.1:8000`.
        process: the server's process, or the supervisor's.
        log: the file with its output.
        gate: the file that lets passes with a held ad finish; see `tests.support.faulty_engine`.
    """

    def __init__(self, address: str, process: subprocess.Popen[bytes], log: Path, gate: Path):
        self.address, self.process, self.log, self.gate = address, process, log, gate
        self.pool = ThreadPoolExecutor(16)

    def send(self, tokens: int, **headers: str) -> httpx.Response:
        """Classify one ad with this number of tokens."""
        body = {"text": text_of_tokens(tokens)}
        return HTTP.post(f"{self.address}/classify", json=body, headers=headers)

    def send_behind_held(self, *tokens: int) -> list[Future[httpx.Response]]:
        """Block the engine with a held ad and queue further ads behind it, in this order.

        Returns:
            The calls, the held ad's first. They finish after `release`.
        """
        self.gate.unlink(missing_ok=True)
        batches = self.metric("queue_seconds_count")
        calls = [self.pool.submit(self.send, HELD)]
        wait_until(lambda: self.metric("queue_seconds_count") > batches, seconds=20)
        for one in tokens:
            calls.append(self.pool.submit(self.send, one))
            wait_until(lambda: self.metric("queued_ads") == len(calls), seconds=20)
        return calls

    def release(self) -> None:
        """Let passes with a held ad finish."""
        self.gate.touch()

    def connection(self, receive_buffer: int | None = None) -> socket.socket:
        """Open a TCP connection to the server.

        Args:
            receive_buffer: bytes of the socket's receive buffer.
        """
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", int(self.address.rpartition(":")[2])))
        return connection

    def status(self, path: str) -> int:
        return HTTP.get(f"{self.address}{path}").status_code

    def metric(self, name: str, **labels: str) -> float:
        """Read a metric, named without its prefix; 0 if it has no such sample."""
        return metric(self.address, name, **labels)


@contextmanager
def faulty_server(
    model: Path,
    folder: Path,
    seconds: float = 0.0,
    memory: int = 10**9,
    engine: str = "FaultyEngine",
    **settings: str,
) -> Iterator[FaultyServer]:
    """Start a server with a faulty engine; yields it once it is ready, and ends it.

    Args:
        model: the checkpoint folder.
        folder: where to put the log and the gate.
        seconds: how much longer every pass takes.
        memory: tokens above which a pass fails for lack of memory.
        engine: the name of a class in `tests.support.faulty_engine`.
        settings: settings of the service, by their names in lower case.
    """
    log, gate = folder / "log", folder / "gate"
    server = "tests.support.serve_cluster" if CLUSTER else "tests.support.serve_with_engine"
    command = (
        server,
        f"tests.support.faulty_engine:{engine}",
        str(gate),
        str(seconds),
        str(memory),
    )
    with running_process(model, log, command, **settings) as (address, process):
        faulty = FaultyServer(address, process, log, gate)
        yield faulty
        faulty.release()
        faulty.pool.shutdown(cancel_futures=True)
