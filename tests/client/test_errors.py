import pytest

from app.client.errors import BusyError, FailedError, ProblemError, RefusedError
from app.schemas.problem import Problem


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RefusedError),
        (422, RefusedError),
        (429, BusyError),
        (500, FailedError),
        (503, BusyError),
        (504, FailedError),
    ],
)
def test_status_decides_the_class_of_a_problem(status, kind):
    problem = Problem(type="urn:x", title="Odd", status=status, detail="Wait.", request_id="r")
    error = ProblemError.of(problem, retry_after=2.0)
    assert type(error) is kind
    assert str(error) == f"{status} Odd: Wait."
    assert (error.request_id, error.retry_after) == ("r", 2.0)
