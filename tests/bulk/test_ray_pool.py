import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.bulk.ray_pool import cluster_address
from tests.support.ad_files import LABELLED_ADS, write_ads


@pytest.mark.parametrize("address", ["local", "head:6379", "ray://head:10001"])
def test_an_explicit_address_is_used_unchanged(address):
    assert cluster_address(address, "other:6379", "127.0.0.1:1") == address


def test_auto_is_the_cluster_of_the_variable():
    assert cluster_address("auto", "head:6379", "127.0.0.1:1") == "head:6379"


@pytest.mark.parametrize("named", [None, "", "auto"])
def test_auto_joins_a_running_cluster_of_this_machine(named):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()
        assert cluster_address("auto", named, f"{host}:{port}") == "auto"


@pytest.mark.parametrize("recorded", [None, "", "127.0.0.1:1"])
def test_auto_without_a_running_cluster_is_local(recorded):
    """A killed cluster leaves a record of its address, where nothing listens any longer."""
    assert cluster_address("auto", None, recorded) == "local"


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A folder with a short path: Ray creates sockets in it, whose paths have a limit."""
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        yield Path(folder)


@pytest.mark.server
def test_auto_predicts_on_this_machine_after_a_killed_cluster(tmp_path, tiny_folder, ray_folder):
    record = ray_folder / "ray" / "ray_current_cluster"
    record.parent.mkdir()
    record.write_text("127.0.0.1:1")
    data, out = write_ads(tmp_path / "ads.jsonl", LABELLED_ADS), tmp_path / "out"
    words = [str(tiny_folder), "--data", str(data), "--out", str(out), "--ray", "auto"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "predict", *words],
        env=environment | {"RAY_TMPDIR": str(ray_folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"Wrote 9 rows to {out}.\n", "")
