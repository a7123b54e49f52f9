"""The service as tests need it: the tiny checkpoint behind the real application."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from app.core.served_model import ServedModel
from app.engine.engine import Engine
from app.model.checkpoint import Checkpoint
from app.serving.api.application import create_app
from app.serving.api.state import state_of
from app.serving.inference.service import Service
from app.serving.metrics import Metrics
from app.serving.scheduling.micro_batcher import MicroBatcher, RunBatch
from app.serving.settings import Settings, load_settings
from tests.support.faulty_engine import HELD, text_of
from tests.support.repository import SHARED


def served_model(checkpoint: Checkpoint) -> ServedModel:
    return ServedModel(
        name=checkpoint.name,
        revision=checkpoint.revision,
        device="cpu",
        dtype="float32",
        heads=checkpoint.heads,
        parameters=checkpoint.parameters,
        max_length=checkpoint.config.max_length,
        max_windows=4,
    )


HTTP = httpx.Client(verify=False, timeout=60)  # noqa: S501  plain HTTP: spare it the certificates
"""A client for all threads; one of its own for each call would cost more than the call."""


class App:
    """The application with a service of its own, and everything a test looks at."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        run: RunBatch | None = None,
        settings: dict[str, object] | None = None,
        rate: float = 1e6,
        load_error: Exception | None = None,
    ) -> None:
        self.settings: Settings = load_settings(settings or {}, environment={})
        self.metrics = Metrics()
        self.failures: list[Exception] = []
        self.run = run or Engine(checkpoint, "cpu").run
        self._checkpoint, self._rate, self._load_error = checkpoint, rate, load_error
        self.app = create_app(self.settings, self._load, self.metrics, self.failures.append)

    async def _load(self) -> Service:
        if self._load_error:
            raise self._load_error
        batcher = MicroBatcher(
            lambda batch: self.run(batch),
            max_batch_tokens=self.settings.max_batch_tokens or 2048,
            max_queued_ads=self.settings.max_queued_ads,
            max_queue_seconds=self.settings.max_queue_seconds,
            tokens_per_second=self._rate,
            metrics=self.metrics,
        )
        tokenizer = self._checkpoint.tokenizer(self.settings.max_windows)
        return Service(served_model(self._checkpoint), tokenizer, batcher, self.metrics)

    @contextmanager
    def client(self) -> Iterator[TestClient]:
        """Give a client of the started application, once loading has ended."""
        with TestClient(self.app, raise_server_exceptions=False) as client:
            client.portal.call(self._loaded)
            yield client

    async def _loaded(self) -> None:
        await state_of(self.app).loading_ended()

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"doppelkopf_{name}", labels)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment(**settings: str) -> dict[str, str]:
    """The process's environment with these settings and no others, and outside of any make."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DOPPELKOPF_", "MAKE", "MFLAGS"))
    }
    return kept | {f"DOPPELKOPF_{name.upper()}": value for name, value in settings.items()}


CLUSTER = "TESTS_CLUSTER" in os.environ
"""Whether a cluster serves; the tests are the same."""

COMMAND = ("tests.support.serve_cluster", "app.engine:Engine") if CLUSTER else ("app.cli", "serve")


def start_server(
    model: Path, log: Path, port: int, command: Sequence[str] = COMMAND, **settings: str
) -> subprocess.Popen[bytes]:
    """Start the real command as a process of its own; its output goes to `log`."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            env=clean_environment(port=str(port), model=str(model), **settings),
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@contextmanager
def running_process(
    model: Path, log: Path, command: Sequence[str] = COMMAND, **settings: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Give a real server that is ready and its process; end it, if it has not ended by itself."""
    port = free_port()
    process = start_server(model, log, port, command, **settings)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: _ready(address, process, log), seconds=60)
        yield address, process
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        finally:
            process.kill()


def refused(model: Path, log: Path, port: int = 0, **settings: str) -> str:
    """Start a server that has to end by itself; return its last line, the only one of its kind."""
    process = start_server(model, log, port, **settings)
    assert process.wait(timeout=60) == 1
    written = log.read_text(encoding="utf-8")
    assert "Traceback" not in written
    last = written.strip().splitlines()[-1]
    assert written.count(last) == 1
    return last


def metric(address: str, name: str, **labels: str) -> float:
    """Read one of a real server's metrics, of all its replicas; 0 where it is not there."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(HTTP.get(f"{address}/metrics").text)
        for sample in family.samples
        if sample.name == f"doppelkopf_{name}"
        and {"replica": "", **sample.labels}.items()
        == {"replica": sample.labels.get("replica", ""), **labels}.items()
    )


@contextmanager
def running_server(model: Path, log: Path, **settings: str) -> Iterator[str]:
    """Give the address of a real server that is ready; end it with SIGTERM."""
    with running_process(model, log, **settings) as (address, _):
        yield address


def peak_megabytes(process: subprocess.Popen[bytes]) -> float:
    """Return the most memory a process ever had resident."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def processor_seconds(process: subprocess.Popen[bytes]) -> float:
    """Return what a process and its children have computed: waiting for others does not count."""
    server, seconds = psutil.Process(process.pid), 0.0
    for one in [server, *server.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # it has just ended
            times = one.cpu_times()
            seconds += times.user + times.system
    return seconds


def _ready(address: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    if process.poll() is not None:
        raise AssertionError(f"the server ended:\n{log.read_text(encoding='utf-8')}")
    try:
        return HTTP.get(f"{address}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Poll what another process does; there is nothing to await."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"nothing happened within {seconds} s")
        time.sleep(0.05)


def shared_ads(count: int) -> Sequence[dict[str, str]] | None:
    """Real ads for tests, or None where they are not at hand."""
    file = SHARED / "data" / "ads.jsonl"
    if not file.is_file():
        return None
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for _, line in zip(range(count), lines, strict=False)]


class Faulty:
    """A real server with the engine of `tests.support.faulty_engine`, and what a test does with it."""

    def __init__(self, address: str, process: subprocess.Popen[bytes], log: Path, gate: Path):
        self.address, self.process, self.log, self.gate = address, process, log, gate
        self.pool = ThreadPoolExecutor(16)

    def send(self, tokens: int, **headers: str) -> httpx.Response:
        """Send an ad of so many tokens."""
        body = {"text": text_of(tokens)}
        return HTTP.post(f"{self.address}/classify", json=body, headers=headers)

    def send_behind_held(self, *tokens: int) -> list[Future[httpx.Response]]:
        """Hold the engine with one ad, and let others wait behind it in order; see `open`."""
        self.gate.unlink(missing_ok=True)
        batches = self.metric("queue_seconds_count")
        calls = [self.pool.submit(self.send, HELD)]
        wait_until(lambda: self.metric("queue_seconds_count") > batches, seconds=20)
        for one in tokens:
            calls.append(self.pool.submit(self.send, one))
            wait_until(lambda: self.metric("queued_ads") == len(calls), seconds=20)
        return calls

    def open(self) -> None:
        """Let the engine go on."""
        self.gate.touch()

    def connection(self, receive_buffer: int | None = None) -> socket.socket:
        """Open a bare connection."""
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", int(self.address.rpartition(":")[2])))
        return connection

    def status(self, path: str) -> int:
        return HTTP.get(f"{self.address}{path}").status_code

    def metric(self, name: str, **labels: str) -> float:
        return metric(self.address, name, **labels)


@contextmanager
def faulty_server(
    model: Path,
    folder: Path,
    seconds: float = 0.0,
    memory: int = 10**9,
    engine: str = "FaultyEngine",
    **settings: str,
) -> Iterator[Faulty]:
    """Give a real server whose passes take `seconds` more and fail above `memory` tokens."""
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
        faulty = Faulty(address, process, log, gate)
        yield faulty
        faulty.open()
        faulty.pool.shutdown(cancel_futures=True)
