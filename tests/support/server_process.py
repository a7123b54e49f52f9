"""Real servers in processes of their own."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.support.polling import wait_until

HTTP = httpx.Client(verify=False, timeout=60)  # noqa: S501  only plain HTTP: loads no certificates
"""A client that all threads share, because making one takes longer than a call."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment(**settings: str) -> dict[str, str]:
    """Return this process's environment without variables of make, and with these settings only."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DOPPELKOPF_", "MAKE", "MFLAGS"))
    }
    return kept | {f"DOPPELKOPF_{name.upper()}": value for name, value in settings.items()}


CLUSTER = "TESTS_CLUSTER" in os.environ
"""Whether the same tests run against a cluster."""

COMMAND = ("tests.support.serve_cluster", "app.engine:Engine") if CLUSTER else ("app.cli", "serve")


def start_server(
    model: Path, log: Path, port: int, command: Sequence[str] = COMMAND, **settings: str
) -> subprocess.Popen[bytes]:
    """Start the server without waiting for it; its output goes to `log`."""
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
    """Start a server; yields its address and process once it is ready, and ends it with SIGTERM."""
    port = free_port()
    process = start_server(model, log, port, command, **settings)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: _ready(address, process, log), seconds=180)
        yield address, process
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        finally:
            process.kill()


def startup_error(model: Path, log: Path, port: int = 0, **settings: str) -> str:
    """Start a server that must exit with code 1 and no traceback; return the last line of its log.

    The line must not occur twice.
    """
    process = start_server(model, log, port, **settings)
    assert process.wait(timeout=60) == 1
    written = log.read_text(encoding="utf-8")
    assert "Traceback" not in written
    last = written.strip().splitlines()[-1]
    assert written.count(last) == 1
    return last


def metric(address: str, name: str, **labels: str) -> float:
    """Read a server's metric, named without its prefix and summed over replicas; 0 if missing."""
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
    """Start a server; yields its address once it is ready, and ends it with SIGTERM."""
    with running_process(model, log, **settings) as (address, _):
        yield address


def peak_megabytes(process: subprocess.Popen[bytes]) -> float:
    """Return the largest resident memory a process has had so far, in MiB."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def processor_seconds(process: subprocess.Popen[bytes]) -> float:
    """Return the CPU seconds of a process and its children so far."""
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
