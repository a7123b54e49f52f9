"""The command `predict` with a server and with a local model, and resuming after a kill."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.contract.conftest import KEY
from tests.support.faulty_server import FaultyServer
from tests.support.polling import wait_until

pytestmark = pytest.mark.server

TEXTS = ["Koch für die Küche", "", "<p>Python im <b>Team</b></p>", "Pflegefachkraft Station " * 30]


def command(data: Path, out: Path, *words: str) -> list[str]:
    files = ["--data", str(data), "--out", str(out), "--format", "auto"]
    return [sys.executable, "-m", "app.cli", "predict", *words, *files]


def run(data: Path, out: Path, *words: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(data, out, *words),
        env=os.environ | {"DOPPELKOPF_API_KEY": key},
        capture_output=True,
        text=True,
        check=False,
    )


def write_csv(path: Path, texts: list[str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["nr", "text"])
        rows.writerows(enumerate(texts))
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [*csv.DictReader(file)]


def test_server_and_local_model_predict_the_same(
    server: FaultyServer, tiny_folder: Path, tmp_path: Path
) -> None:
    data = write_csv(tmp_path / "ads.csv", TEXTS * 6)
    for out, words in (
        ("own.csv", [str(tiny_folder)]),
        ("served.csv", ["--server", server.address]),
    ):
        done = run(data, tmp_path / out, *words)
        assert done.returncode == 0, done.stderr
        assert "Wrote 24 rows" in done.stdout
        assert "6 of them with an error" in done.stdout
    own, served = rows_of(tmp_path / "own.csv"), rows_of(tmp_path / "served.csv")
    assert [row["nr"] for row in served] == [str(number) for number in range(24)]
    for one, other in zip(own, served, strict=True):
        for name, value in one.items():
            if name.endswith("_probability") and value:
                assert float(other[name]) == pytest.approx(float(value), abs=1e-5)
            else:
                assert other[name] == value


@pytest.mark.parametrize(
    ("words", "key", "message"),
    [
        (["--server", "{address}"], "another-key-of-good-length", "401 Unauthorized"),
        (["--server", "{address}", "{folder}"], KEY, "Name a checkpoint folder, or a server"),
        ([], KEY, "Name a checkpoint folder, or a server"),
    ],
)
def test_bad_options_end_with_one_sentence(
    server: FaultyServer,
    tiny_folder: Path,
    tmp_path: Path,
    words: list[str],
    key: str,
    message: str,
) -> None:
    data = write_csv(tmp_path / "ads.csv", TEXTS)
    given = [word.format(address=server.address, folder=tiny_folder) for word in words]
    done = run(data, tmp_path / "o.csv", *given, key=key)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "o.csv").exists()


def test_killed_run_resumes_and_writes_the_same_bytes(tiny_folder: Path, tmp_path: Path) -> None:
    texts = [f"{text} {number}" for number, text in enumerate(TEXTS[::3] * 3000)]
    data, out = write_csv(tmp_path / "ads.csv", texts), tmp_path / "out.csv"
    assert run(data, tmp_path / "whole.csv", str(tiny_folder)).returncode == 0
    journal = tmp_path / ".out.csv.answers"
    with subprocess.Popen(
        command(data, out, str(tiny_folder)), stderr=subprocess.DEVNULL
    ) as killed:
        wait_until(lambda: journal.exists() and journal.read_bytes().count(b"\n") > 2, seconds=30)
        killed.send_signal(signal.SIGKILL)
    answered = journal.read_bytes().count(b"\n")
    assert not out.exists()
    assert run(data, out, str(tiny_folder)).returncode == 0
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert answered < 6000 / 512
    assert not journal.exists()
