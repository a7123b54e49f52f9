"""Nothing is reported and nothing is fetched: the service is the same without a network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.repository import ROOT
from tests.support.server_process import clean_environment, running_server

pytestmark = pytest.mark.server

ALONE = ("unshare", "--map-root-user", "--net")

# Put in front of the real command: each attempt to reach another machine is written down and fails.
WATCH = """
import os, sys

LOCAL = ("127.0.0.1", "::1", "localhost", "0.0.0.0", None, "")

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        place = arguments[1]
        host = place[0] if isinstance(place, tuple) else None
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    else:
        return
    if host not in LOCAL:
        with open(os.environ["ATTEMPTS"], "a") as attempts:
            print(event, host, file=attempts)
        raise OSError("there is no network")

sys.addaudithook(watch)
"""


def may_be_alone() -> bool:
    try:
        return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def test_with_the_network_cut_everything_works_and_nothing_leaves(
    tiny_folder: Path, tmp_path: Path
) -> None:
    """The kernel counts it, so native code cannot hide either."""
    if not may_be_alone():
        pytest.skip("this system lets nobody make a network of their own (unshare --net)")
    done = subprocess.run(
        [
            *ALONE,
            sys.executable,
            "-m",
            "tests.acceptance.hostile.offline",
            tiny_folder,
            tmp_path / "log",
        ],
        cwd=ROOT,
        env=clean_environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    # An attempt of our own was counted: so would one of the server's be.
    assert told["control"]["connect"] != 0
    assert told["control"]["after"] == told["control"]["IpOutNoRoutes"] + 1
    assert set(told["statuses"].values()) == {200}
    assert len(told["statuses"]) >= 10
    assert set(told["left"].values()) == {0}


def test_no_library_tries_to_reach_another_machine(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    attempts = tmp_path / "attempts"
    attempts.touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    monkeypatch.setenv("ATTEMPTS", str(attempts))
    # Those that report where they find this would.
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://192.0.2.1:4318")
    with running_server(tiny_folder, tmp_path / "log") as address:
        for path in ("/docs", "/", "/model", "/metrics"):
            assert httpx.get(f"{address}{path}").status_code == 200
        assert httpx.post(f"{address}/classify", json={"text": "Koch"}).status_code == 200
    assert attempts.read_text() == ""
    # The watch itself sees what it should.
    probe = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"
    seen = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False)
    assert b"there is no network" in seen.stderr
    assert "192.0.2.1" in attempts.read_text()
