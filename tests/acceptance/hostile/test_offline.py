"""The service works without a network and never tries to reach another machine."""

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

OWN_NETWORK = ("unshare", "--map-root-user", "--net")

AUDIT_HOOK = """
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
"""A `sitecustomize.py` that records each attempt to reach another machine and lets it fail."""


def may_create_network() -> bool:
    try:
        return (
            subprocess.run([*OWN_NETWORK, "true"], capture_output=True, check=False).returncode == 0
        )
    except OSError:
        return False


def test_service_works_without_network_and_sends_nothing(tiny_folder: Path, tmp_path: Path) -> None:
    """The kernel counts packets, so attempts of native code are seen too."""
    if not may_create_network():
        pytest.skip("this system does not permit a network namespace (unshare --net)")
    done = subprocess.run(
        [
            *OWN_NETWORK,
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
    report = json.loads(done.stdout)
    # The script's own attempt was counted, so the server's would be too.
    assert report["control"]["connect"] != 0
    assert report["control"]["after"] == report["control"]["IpOutNoRoutes"] + 1
    assert set(report["statuses"].values()) == {200}
    assert len(report["statuses"]) >= 10
    assert set(report["left"].values()) == {0}


def test_no_library_tries_to_reach_another_machine(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(AUDIT_HOOK)
    attempts = tmp_path / "attempts"
    attempts.touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    monkeypatch.setenv("ATTEMPTS", str(attempts))
    # Libraries that can report somewhere would do so with these.
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://192.0.2.1:4318")
    with running_server(tiny_folder, tmp_path / "log") as address:
        for path in ("/docs", "/", "/model", "/metrics"):
            assert httpx.get(f"{address}{path}").status_code == 200
        assert httpx.post(f"{address}/classify", json={"text": "Koch"}).status_code == 200
    assert attempts.read_text() == ""
    # The hook does see an attempt.
    probe = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"
    seen = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False)
    assert b"there is no network" in seen.stderr
    assert "192.0.2.1" in attempts.read_text()
