"""Runs the blocks of one page of the documentation."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.docs.pages import PAGES
from tests.support.polling import wait_until
from tests.support.server_process import clean_environment, free_port

RUN = ("sh", "python", "json")
"""The languages of blocks that a test runs, or compares with an answer."""


class PageReader:
    """Runs the blocks of a page one after the other.

    Args:
        page: its path from the root of the repository.
        folder: where commands run.
        base: the folder of the base encoder that stands in for the one of the model hub.
    """

    def __init__(self, page: str, folder: Path, base: Path) -> None:
        self.left = [block for block in PAGES[page].blocks if block.language in RUN]
        self.folder, self.port, self._base = folder, free_port(), base

    def take(self, language: str) -> str:
        """Return the text of the next block, which must have this language."""
        block = self.left.pop(0)
        assert block.language == language, block
        return block.text

    def sh(self) -> str:
        """Run the next block in a shell; returns its output."""
        return self.run(self.take("sh"))

    def python(self) -> str:
        """Run the next block in Python; returns its output."""
        return self.run(f"{sys.executable} - <<'PYTHON'\n{self.take('python')}PYTHON")

    def json(self) -> Any:
        """Return the value of the next block, which is JSON."""
        return json.loads(self.take("json"))

    def run(self, command: str) -> str:
        """Run a command in the folder; returns its output, and fails unless it succeeds."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self._localized(command)],
            cwd=self.folder,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def serving(self, command: str = "") -> Iterator[None]:
        """Run a server while the context is open: with `command`, or else with the next block."""
        command = command or self.take("sh")
        log = self.folder / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", command],
                cwd=self.folder,
                env=clean_environment(port=str(self.port)),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        def ready() -> bool:
            assert process.poll() is None, log.read_text(encoding="utf-8")
            try:
                return self.get("/health/ready").status_code == 200
            except httpx.TransportError:
                return False

        try:
            wait_until(ready, seconds=90)
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)

    def get(self, path: str) -> httpx.Response:
        """Send a GET request to the running server."""
        return httpx.get(f"http://localhost:{self.port}{path}")

    def lines(self, name: str) -> list[str]:
        """Return the lines of a file that a block wrote."""
        return (self.folder / name).read_text(encoding="utf-8").splitlines()

    def _localized(self, block: str) -> str:
        return block.replace("localhost:8000", f"localhost:{self.port}").replace(
            "bert-base-german-cased", str(self._base)
        )
