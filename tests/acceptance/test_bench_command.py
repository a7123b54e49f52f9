"""`doppelkopf bench` with a real server and a real engine, on the tiny checkpoint."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from app.bench.summary import LoadSummary
from app.bench.sweep import knee
from tests.support.polling import wait_until
from tests.support.server_process import HTTP, clean_environment, metric, running_process

pytestmark = pytest.mark.server

KEY = "a-key-of-the-tests-alone"
TEXTS = [f"Koch für die Küche mit Speisen {'und Menüs ' * number}" for number in range(12)]


@pytest.fixture(scope="module")
def address(tiny_folder, tmp_path_factory):
    log = tmp_path_factory.mktemp("served") / "log"
    with running_process(tiny_folder, log, api_keys=KEY) as (address, _):
        yield address


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    file = tmp_path / "ads.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return file


def bench(*words: object, key: str = KEY) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", "bench", *map(str, words)],
        env=clean_environment(api_key=key) | {"COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_bench(*words: object, out: Path) -> tuple[dict, str]:
    process = bench(*words, "--json", out)
    shown, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    return json.loads(out.read_text()), shown


def server_counts(address: str, route: str) -> Counter[int]:
    return Counter(
        {
            status: int(metric(address, "requests_total", route=route, status=str(status)))
            for status in (200, 401, 429)
        }
    )


def answer_counts(figures: dict) -> Counter[int]:
    """Count a run's answers by status, with the warm-up and the first request."""
    total = Counter({200: 1})
    for load in figures["loads"]:
        for statuses in (load["statuses"], load["warm_up_statuses"]):
            total.update({int(status): count for status, count in statuses.items()})
        assert not load["failures"]
    return total


@pytest.mark.parametrize(
    ("words", "route"),
    [
        (["--rate", 60, "--plot", "{folder}/load.png"], "/classify"),
        (["--rate", 60, "--processes", 2], "/classify"),
        (["--connections", 4], "/classify"),
        (["--connections", 2, "--batch", 5], "/classify/batch"),
        (["--sweep", "--rate", 20, "--p99", 0.01], "/classify"),
    ],
)
def test_counts_equal_the_metrics_of_the_server(address, ads, tmp_path, words, route):
    words = [str(word).format(folder=tmp_path) for word in words]
    before = server_counts(address, route)
    duration, warm_up = (0.2, 0.1) if "--sweep" in words else (1, 0.3)
    times = ["--duration", duration, "--warm-up", warm_up]
    figures, shown = run_bench(address, "--ads", ads, *words, *times, out=tmp_path / "out.json")
    assert answer_counts(figures) == server_counts(address, route) - before
    load = figures["loads"][0]
    assert load["statuses"]["200"] > 0
    ads_a_request = 5 if "--batch" in words else 1
    assert load["ads"] == pytest.approx(load["achieved"] * ads_a_request)
    if "--sweep" in words:
        # A step is too short to promise an answer within its time; all are counted above.
        assert load["tokens"] >= 5 * load["ads"]
        # No answer comes within 0.01 ms, so it tries lower rates up to the last step.
        assert figures["knee"] is None
        assert len(figures["loads"]) == 20
        assert "No knee" in shown
    else:
        assert load["tokens"] > 5 * load["ads"] > 0
        assert "p99.9" in shown
    assert (tmp_path / "load.png").exists() == ("--plot" in words)
    assert KEY not in shown + json.dumps(figures)


def test_sweep_finds_a_knee(address, ads, tmp_path):
    """The knee is that of the measured steps, whatever the machine can do.

    `tests/bench/test_sweep.py` finds the knee of servers of known capacity.
    """
    words = ["--sweep", "--rate", 20, "--duration", 0.5, "--warm-up", 0.2, "--p99", 5000]
    figures, shown = run_bench(address, "--ads", ads, *words, out=tmp_path / "out.json")
    steps = [LoadSummary(**load) for load in figures["loads"]]
    found = knee(steps, 5000)
    assert found is not None
    assert figures["knee"] == found.rate
    assert f"The knee is at {found.rate:.4g} requests/s" in shown


def test_ctrl_c_prints_the_figures_so_far(address, ads, tmp_path):
    for processes in (1, 2):
        before = server_counts(address, "/classify")[200]
        process = bench(address, "--ads", ads, "--rate", 40, "--warm-up", 0, "--duration", 600,
                        "--processes", processes, "--json", tmp_path / "out.json")  # fmt: skip
        wait_until(lambda so_far=before: server_counts(address, "/classify")[200] > so_far + 20, 60)
        os.kill(process.pid, signal.SIGINT)
        shown, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        assert err == "Interrupted.\n"
        assert "achieved" in shown
        [load] = json.loads((tmp_path / "out.json").read_text())["loads"]
        assert 0 < load["seconds"] < 60
        assert load["statuses"]["200"] >= 20


@pytest.mark.parametrize(
    ("words", "key", "sentence"),
    [
        (["{address}", "--rate", 1], "wrong", "The service wants an API key; give it in the var"),
        (["http://127.0.0.1:1", "--rate", 1], KEY, "Nothing answers at http://127.0.0.1:1"),
        (["{address}/no", "--rate", 1], KEY, "{address}/no answers the first request with 404"),
        (["127.0.0.1:8000", "--rate", 1], KEY, "The address has to be like http://localhost"),
        (["{address}"], KEY, "Say how to load it: --rate, --connections or --sweep"),
        (["{address}", "--rate", 1, "--connections", 1], KEY, "Say how to load it"),
        (["{address}", "--sweep", "--connections", 1], KEY, "--sweep is an open loop"),
        (["{address}", "--rate", 1e6], KEY, "1e+06 requests/s for 12 s are more than"),
        (["{address}", "--connections", 1, "--processes", 2], KEY, "--processes may not be more"),
        (["{address}", "--rate", 1, "--json", "no/f.json"], KEY, "There is no folder no to write"),
        (["{address}", "--engine", "x"], KEY, "Name the address of a service, or a checkpoint"),
        ([], KEY, "Name the address of a service, or a checkpoint"),
    ],
)
def test_bad_options_end_with_one_sentence(address, ads, words, key, sentence):
    process = bench(*(str(word).format(address=address) for word in words), "--ads", ads, key=key)
    shown, err = process.communicate(timeout=60)
    assert (process.returncode, shown) == (1, "")
    assert err.startswith(sentence.format(address=address))
    assert err.count("\n") == 1
    assert HTTP.get(f"{address}/health/ready").status_code == 200


def test_engine_bench_compares_with_matmul(ads, tiny_folder, tmp_path):
    words = ["--engine", tiny_folder, "--ads", ads, "--duration", 1, "--device", "cpu"]
    figures, shown = run_bench(*words, out=tmp_path / "out.json")
    names = [row["name"] for row in figures["medians"]]
    assert names == ["1 ad", "packed, 512 tokens", "packed, 1024 tokens", "packed, 2048 tokens",
                     "padded, 8 windows"]  # fmt: skip
    assert all(row["ads"] > 0 and row["share"] > 0 for row in figures["medians"])
    assert len(figures["engine"]["matmul"]) == 5
    assert "of matmul" in shown


def test_engine_bench_compares_int8_with_float32(ads, tiny_folder, tmp_path):
    words = ["--engine", tiny_folder, "--ads", ads, "--duration", 1, "--dtype", "int8"]
    figures, shown = run_bench(*words, "--device", "cpu", out=tmp_path / "out.json")
    assert figures["engine"]["dtype"] == "int8"
    assert "float32, 1024 tokens" in [row["name"] for row in figures["medians"]]
    assert "float32 matmul alone" in shown
