"""The figures and the traffic of the soak, and a few seconds of it with a real server."""

import json
import subprocess
import sys
from collections import Counter

import pytest

from tests.measurements.load_by_minute import Minute, slope, value
from tests.measurements.traffic import Traffic
from tests.support.server_process import clean_environment

ADS = [
    {"text": f"Koch für die Küche {number} " * (number + 1), "title": None} for number in range(40)
]


def test_slope_is_per_hour_without_the_warm_up():
    warming = [(minute / 60, 500 + 40 * minute) for minute in range(10)]
    steady = [(minute / 60, 900 + minute / 60 * 3) for minute in range(10, 60)]
    assert slope(warming + steady, 10 / 60) == pytest.approx(3)
    assert slope(warming + steady, 0) > 100


def test_metric_is_summed_over_its_series():
    page = '# TYPE a gauge\na{lane="x"} 2.0\na{lane="y"} 3.0\n# TYPE ab gauge\nab 7.0\n'
    assert value(page, "a") == 5


def test_same_seed_draws_the_same_traffic_of_every_kind():
    first, second = (Traffic(ADS, 1024) for _ in range(2))
    requests = [first.draw() for _ in range(2000)]
    assert requests == [second.draw() for _ in range(2000)]
    assert {status for request in requests for status in request.expected} >= {
        200,
        400,
        404,
        405,
        413,
        422,
    }
    leaving = sum(request.leave_after is not None for request in requests)
    assert 50 < leaving < 200
    assert max(len(request.content) for request in requests) > 2**19


def test_valid_requests_may_get_200_and_do_not_leave():
    traffic = Traffic(ADS, 1024)
    requests = [traffic.draw_valid() for _ in range(200)]
    assert all(200 in request.expected and request.leave_after is None for request in requests)


def test_minute_has_memory_latencies_and_outcomes():
    minute = Minute([0.1, 0.3], Counter({"200": 2, "429": 1}), [0, 4], [500.04, 700])
    assert minute.row() == {
        "rss_mb": 600.0,
        "p50_ms": 200.0,
        "p95_ms": 290.0,
        "p99_ms": 298.0,
        "queued_mean": 2.0,
        "queued_max": 4,
        "outcomes": {"200": 2, "429": 1},
    }
    assert minute.line(3).split()[:2] == ["3", "600.0"]
    assert minute.line(3).endswith("  200: 2  429: 1")


def test_minute_without_samples_has_a_row():
    assert Minute().line(1).split() == ["1", *"------"]


@pytest.mark.server
def test_short_soak_gets_only_documented_answers(tiny_folder, tmp_path):
    ads, out = tmp_path / "ads.jsonl", tmp_path / "figures.json"
    ads.write_text("".join(json.dumps(ad) + "\n" for ad in ADS))
    options = ["--model", tiny_folder, "--ads", ads, "--out", out]
    options += ["--minutes", "0.05", "--capacity-seconds", "0.5"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.measurements.soak", *options],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(out.read_text())
    assert figures["outcomes"]["200"] > 0
    assert figures["by_minute"][0]["rss_mb"] > 0
    assert "slope of the memory" in done.stdout
