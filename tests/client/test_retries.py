import pytest

from app.client.errors import BusyError, ProblemError, RefusedError, UnreachableError
from app.client.retries import Attempts, Retries
from app.schemas.problem import Problem


def busy(retry_after: float | None = None) -> ProblemError:
    problem = Problem(type="urn:x", title="Busy", status=429, detail="Later.", request_id="r")
    return ProblemError.of(problem, retry_after)


def attempts(seconds: float = 1000.0, **retries) -> Attempts:
    return Attempts(Retries(**retries), seconds, clock=lambda: 0.0, uniform=lambda _, high: high)


def test_bound_of_pauses_doubles_up_to_the_longest():
    bounds = []
    counted = Attempts(
        Retries(tries=9, first_pause=1.0, longest_pause=5.0),
        1000.0,
        clock=lambda: 0.0,
        uniform=lambda low, high: bounds.append((low, high)) or 0.0,
    )
    for _ in range(5):
        counted.pause_after(UnreachableError("gone"))
    assert bounds == [(0.0, 1.0), (0.0, 2.0), (0.0, 4.0), (0.0, 5.0), (0.0, 5.0)]


def test_retry_after_is_added_to_the_jitter():
    assert attempts(first_pause=0.5).pause_after(busy(3)) == 3.5


def test_attempt_after_the_timeout_is_not_made():
    with pytest.raises(BusyError):
        attempts(seconds=3.0).pause_after(busy(3))


def test_error_is_raised_after_the_last_attempt():
    counted, error = attempts(tries=2), UnreachableError("gone")
    counted.pause_after(error)
    with pytest.raises(UnreachableError) as caught:
        counted.pause_after(error)
    assert caught.value is error


def test_refused_request_is_raised_at_once():
    problem = Problem(type="urn:x", title="No", status=422, detail="No.", request_id="r")
    with pytest.raises(RefusedError):
        attempts().pause_after(ProblemError.of(problem))


@pytest.mark.parametrize("wrong", [{"tries": 0}, {"first_pause": -1}, {"longest_pause": -1}])
def test_impossible_retries_are_rejected(wrong):
    with pytest.raises(ValueError, match="at least once"):
        Retries(**wrong)


def test_timeout_of_zero_is_rejected():
    with pytest.raises(ValueError, match="above 0"):
        attempts(seconds=0)
