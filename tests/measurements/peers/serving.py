"""A contender's server: its processes from the first to the last, and their memory."""

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
"""Switches off what the peers would tell their makers, and looks for models elsewhere."""

LOOK_SECONDS = 0.2
STOP_SECONDS = 10.0
MOST_WORDS = 200


class ServerError(Exception):
    """A contender does not do what it should; says what."""


class Family:
    """A process and all its descendants, those too that were seen once and left its tree."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._first = psutil.Process(pid)
        self._seen: set[psutil.Process] = {self._first}
        self.peak_mb = 0.0

    def resident_mb(self) -> float:
        """Return what they hold now; pages that they share count for each of them."""
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
        """End whoever is left."""
        self.resident_mb()
        for process in self._seen:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(self._seen, timeout=STOP_SECONDS)


class Server:
    """A running server in a process group of its own; a context manager."""

    def __init__(
        self,
        command: Sequence[str],
        variables: Mapping[str, str],
        log: Path,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        """Take what to run, where its output goes, and the time it has to stop by itself."""
        self._command, self._variables, self._log = command, variables, log
        self._stop_seconds = stop_seconds
        self._ended = threading.Event()

    def __enter__(self) -> "Server":
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
        self.family = Family(self._process.pid)
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._watch.join()
        self.family.resident_mb()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(self._stop_seconds)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.family.kill()
        self._process.wait()

    def require_alive(self) -> None:
        """Return if the server runs.

        Raises:
            ServerError: it has ended; says what it left as its last words.
        """
        if (code := self._process.poll()) is not None:
            raise ServerError(f"It ended with {code}: {self.last_words()}")

    def last_words(self) -> str:
        """Return the last line of its output, without folders of this machine."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return re.sub(r"(/[\w.@+-]+)+/", "", lines[-1].strip())[:MOST_WORDS] if lines else "nothing"

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self.family.resident_mb()
