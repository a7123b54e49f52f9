import numpy as np
import pytest

from app.bench.http_client import LOST
from app.bench.load_generator import (
    HELD_BACK,
    REQUEST_SAMPLE,
    UNANSWERED,
    LoadPlan,
    PreparedRequest,
)
from app.bench.summary import percentiles, summarize

PLAN = LoadPlan("http://test", [PreparedRequest(b"")], rate=10.0, warm_up=2.0, duration=10.0)


def samples(*rows):
    """Return samples of (intended, seconds, status); each is on time and has 2 ads of 5 tokens."""
    return np.array(
        [(at, 0.001, took, status, 2, 10 * (status == 200)) for at, took, status in rows],
        dtype=REQUEST_SAMPLE,
    )


def test_percentiles_of_values():
    found = percentiles(np.arange(1001.0))
    expected = {"p50": 500, "p95": 950, "p99": 990, "p99.9": 999, "max": 1000}
    assert found == pytest.approx(expected)
    assert percentiles(np.array([])) == {}


def test_the_warm_up_counts_in_its_own_statuses_only():
    summary = summarize(samples((0.5, 0.4, 200), (1.9, 0.05, 429), (2.5, 0.2, 200)), PLAN, 12.0)
    assert (summary.offered, summary.achieved) == (0.1, 0.1)
    assert summary.latency_ms["max"] == pytest.approx(200)
    assert (summary.statuses, summary.warm_up_statuses) == ({200: 1}, {200: 1, 429: 1})


def test_answers_count_on_arrival_and_latencies_when_due():
    summary = summarize(samples((1.0, 3.0, 200), (11.0, 4.0, 200), (5.0, 0.1, 200)), PLAN, 12.0)
    # The first is due before the measured seconds and arrives in them; the second arrives after.
    assert (summary.achieved, summary.ads, summary.tokens) == (0.2, 0.4, 2.0)
    assert summary.latency_ms["max"] == pytest.approx(4000)


def test_only_answers_with_200_are_achieved():
    summary = summarize(
        samples(
            (3, 0.1, 200), (4, 0.001, 429), (5, 0, LOST), (6, 0, UNANSWERED), (7, 0, HELD_BACK)
        ),
        PLAN, 12.0,
    )  # fmt: skip
    assert (summary.offered, summary.achieved, summary.rejected) == (0.5, 0.1, 1)
    assert summary.failures == {"lost": 1, "unanswered": 1, "held back": 1}
    assert summary.latency_ms["p50"] == pytest.approx(100)


def test_a_stopped_load_has_fewer_measured_seconds():
    summary = summarize(samples((3, 0.1, 200)), PLAN, 4.0)
    assert (summary.seconds, summary.achieved) == (2.0, 0.5)
    assert summarize(samples((1, 0.1, 200)), PLAN, 1.5).achieved == 0


def test_an_overloaded_generator_gives_a_warning():
    late = samples(*((3 + at / 10, 0.1, 200) for at in range(20)))
    assert not list(summarize(late, PLAN, 12.0).warnings())
    late["late"] = 0.05
    [warning] = summarize(late, PLAN, 12.0).warnings()
    assert "late itself, by 50 ms" in warning
    assert "--processes" in warning
    [warning] = summarize(samples((3, 0, HELD_BACK)), PLAN, 12.0).warnings()
    assert warning.startswith("1 requests were not sent")
