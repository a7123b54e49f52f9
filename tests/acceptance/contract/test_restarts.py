"""A client's stream continues when its server is killed, restarted and shut down."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.client import DoppelkopfClient, Retries, StreamAnswer
from tests.support.server_process import free_port, start_server

pytestmark = pytest.mark.server

ADS = 400


class RestartableServer:
    """A server that can be ended and started again at the same address."""

    def __init__(self, model: Path, folder: Path) -> None:
        self._model, self._folder, self._port = model, folder, free_port()
        self._starts = 0
        self.address = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        self._starts += 1
        log = self._folder / f"{self._starts}.log"
        settings = {"max_batch_ads": "16", "threads": "1"}
        self._process: subprocess.Popen[bytes] = start_server(
            self._model, log, self._port, **settings
        )

    def end(self, how: signal.Signals) -> int:
        """Send the signal; returns the exit code."""
        self._process.send_signal(how)
        return self._process.wait(timeout=30)


@contextmanager
def restartable_server(model: Path, folder: Path) -> Iterator[RestartableServer]:
    running = RestartableServer(model, folder)
    try:
        yield running
    finally:
        running.end(signal.SIGKILL)


def test_stream_answers_each_ad_once_across_restarts(tiny_folder: Path, tmp_path: Path) -> None:
    """The server is killed once and shut down once, each in the middle of a part of the stream."""
    ads = [{"text": "Koch", "id": str(number)} for number in range(ADS)]
    ends = {100: signal.SIGKILL, 250: signal.SIGTERM}
    often = Retries(tries=1000, first_pause=0.1, longest_pause=0.1)
    with restartable_server(tiny_folder, tmp_path) as running:
        with DoppelkopfClient(running.address, retries=often) as client:
            answers = []
            # The first try comes while the server still loads.
            for answer in client.stream(ads):
                answers.append(answer)
                if how := ends.get(len(answers)):
                    running.end(how)
                    running.start()
    assert all(isinstance(answer, StreamAnswer) for answer in answers)
    assert [answer.line for answer in answers] == list(range(1, ADS + 1))
    assert [answer.id for answer in answers] == [ad["id"] for ad in ads]
