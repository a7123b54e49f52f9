import pytest

from app.bench.summary import LoadSummary
from app.bench.sweep import MAX_STEPS, RESOLUTION, keeps_up, knee, search_knee


def step(rate: float, achieved: float, p99: float = 10.0) -> LoadSummary:
    times = {"p50": p99 / 2, "p99": p99}
    return LoadSummary(
        rate, None, 10.0, rate, achieved, achieved, achieved, times, {}, {200: 1}, {}, {}
    )


def service(capacity: float):
    """Return what a service measures whose queue grows above its capacity."""
    return lambda rate: step(rate, min(rate, capacity), 10.0 if rate <= capacity else 9000.0)


@pytest.mark.parametrize("capacity", [0.7, 5, 18.4, 700])
@pytest.mark.parametrize("start", [5, 100])
def test_the_knee_is_found_from_below_and_above(capacity, start):
    steps = list(search_knee(service(capacity), start, 1e5, 1000))
    found = knee(steps, 1000).rate
    assert capacity / RESOLUTION <= found <= capacity
    assert len(steps) <= MAX_STEPS


def test_keeping_up_is_95_percent_answered_within_the_bound():
    assert keeps_up(step(100, 95), 1000)
    assert not keeps_up(step(100, 94.9), 1000)
    assert not keeps_up(step(100, 100, p99=1001), 1000)
    assert not keeps_up(LoadSummary(1, None, 10, 0, 0, 0, 0, {}, {}, {}, {}, {}), 1000)


def test_rates_above_a_failed_one_are_not_the_knee():
    steps = [step(10, 10), step(20, 10), step(40, 40)]
    assert knee(steps, 1000).rate == 10


def test_a_service_without_answers_has_no_knee():
    steps = list(search_knee(lambda rate: step(rate, 0), 5, 1e5, 1000))
    assert len(steps) == MAX_STEPS
    assert knee(steps, 1000) is None


def test_the_search_ends_at_the_highest_rate_or_a_stop():
    assert [one.rate for one in search_knee(service(1e9), 5, 30, 1000)] == [5, 10, 20, 30]
    left = iter([step(5, 5), step(10, 10), None])
    assert [one.rate for one in search_knee(lambda _: next(left), 5, 1e5, 1000)] == [5, 10]
