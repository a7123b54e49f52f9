"""A contender's server process with its descendants and their memory."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil

from tests.support.repository import ROOT
from tests.support.server_process import clean_environment

QUIET = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "INFINITY_ANONYMOUS_USAGE_STATS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TRANSFORMERS_OFFLINE": "1",
}
"""Variables that switch off usage reports and downloads of models."""

SAMPLE_SECONDS = 0.2
STOP_SECONDS = 10.0
LONGEST_MESSAGE = 200


class ServerError(Exception):
    """A contender fails; the message says how."""


class ProcessTree:
    """A process and its descendants, also those that have since left its tree."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._first = psutil.Process(pid)
        self._seen: set[psutil.Process] = {self._first}
        self.peak_mb = 0.0

    def resident_mb(self) -> float:
        """Return their resident memory in MiB; shared pages count for each process."""
        with suppress(psutil.NoSuchProcess):
            self._seen |= set(self._first.children(recursive=True))
        total = 0
        for process in list(self._seen):
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                self._seen.discard(process)
        megabytes = total / 2**20
        self.peak_mb = max(self.peak_mb, megabytes)
        return megabytes

    def kill(self) -> None:
        """Kill all that still run."""
        self.resident_mb()
        for process in self._seen:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(self._seen, timeout=STOP_SECONDS)


class PeerServer:
    """A context manager that runs a server in a process group of its own.

    Args:
        command: what to run.
        variables: added to the environment.
        log: the file for its output.
        stop_seconds: how long it may take to stop by itself.
    """

    def __init__(
        self,
        command: Sequence[str],
        variables: Mapping[str, str],
        log: Path,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._command, self._variables, self._log = command, variables, log
        self._stop_seconds = stop_seconds
        self._ended = threading.Event()

    def __enter__(self) -> "PeerServer":
        environment = clean_environment() | QUIET | {"PYTHONPATH": str(ROOT)} | self._variables
        self.begin = time.perf_counter()
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes = ProcessTree(self._process.pid)
        self._sampler = threading.Thread(target=self._sample_memory, daemon=True)
        self._sampler.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._sampler.join()
        self.processes.resident_mb()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(self._stop_seconds)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.processes.kill()
        self._process.wait()

    def require_alive(self) -> None:
        """Return if the server runs.

        Raises:
            ServerError: it has ended; with its last line of output.
        """
        if (code := self._process.poll()) is not None:
            raise ServerError(f"It ended with {code}: {self.last_line()}")

    def last_line(self) -> str:
        """Return the last line of its output, with paths shortened to their last part."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return (
            re.sub(r"(/[\w.@+-]+)+/", "", lines[-1].strip())[:LONGEST_MESSAGE]
            if lines
            else "nothing"
        )

    def _sample_memory(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.processes.resident_mb()
