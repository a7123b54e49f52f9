import pytest

from app.client.errors import BusyError, ProblemError, RefusedError, UnreachableError
from app.client.retries import Attempts, Retries
from app.schemas.problem import Problem


def busy(retry_after: float | None = None) -> ProblemError:
    problem = Problem(type="urn:x", title="Busy", status=429, detail="Later.", request_id="r")
    return ProblemError.of(problem, retry_after)


def attempts(seconds: float = 1000.0, **retries) -> Attempts:
    return Attempts(Retries(**retries), seconds, clock=lambda: 0.0, uniform=lambda _, high: high)


def test_pauses_are_drawn_between_nothing_and_twice_as_much_each_time():
    drawn = []
    ours = Attempts(
        Retries(tries=9, first_pause=1.0, longest_pause=5.0),
        1000.0,
        clock=lambda: 0.0,
        uniform=lambda *bounds: drawn.append(bounds) or 0.0,
    )
    for _ in range(5):
        ours.pause(UnreachableError("gone"))
    assert drawn == [(0.0, 1.0), (0.0, 2.0), (0.0, 4.0), (0.0, 5.0), (0.0, 5.0)]


def test_what_retry_after_says_comes_before_the_jitter():
    assert attempts(first_pause=0.5).pause(busy(3)) == 3.5


def test_a_try_that_would_come_too_late_is_not_made():
    with pytest.raises(BusyError):
        attempts(seconds=3.0).pause(busy(3))


def test_the_error_itself_is_raised_behind_the_last_try():
    ours, error = attempts(tries=2), UnreachableError("gone")
    ours.pause(error)
    with pytest.raises(UnreachableError) as caught:
        ours.pause(error)
    assert caught.value is error


def test_a_refusal_ends_it_at_once():
    problem = Problem(type="urn:x", title="No", status=422, detail="No.", request_id="r")
    with pytest.raises(RefusedError):
        attempts().pause(ProblemError.of(problem))


@pytest.mark.parametrize("wrong", [{"tries": 0}, {"first_pause": -1}, {"longest_pause": -1}])
def test_retries_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="at least once"):
        Retries(**wrong)


def test_a_timeout_of_nothing_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        attempts(seconds=0)
