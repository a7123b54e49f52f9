"""The exceptions that calls of the client raise.

DoppelkopfError
└── CallError                   a call failed; the message says what to do
    ├── UnreachableError        no answer in time: connection refused, broken or timed out
    ├── ForeignAnswerError      the answer is not that of a Doppelkopf of this version
    └── ProblemError            a problem document, with `status`, `title`, `detail`, `request_id`
        ├── RefusedError        any other 4xx: the request is wrong; do not repeat it
        ├── BusyError           429 or 503: the request may succeed later
        └── FailedError         any other 5xx: the service failed, or took too long

`UnreachableError` and `BusyError` are raised after the last retry.
"""

from app.core.errors import DoppelkopfError
from app.schemas.problem import Problem


class CallError(DoppelkopfError):
    """Base class of all errors of a call."""


class UnreachableError(CallError):
    """No answer came: the connection was refused, broke or timed out."""


class ForeignAnswerError(CallError):
    """The answer is not that of a Doppelkopf, or of a version that this client cannot read."""


class ProblemError(CallError):
    """The service answered with a problem document (RFC 9457).

    Attributes:
        status: HTTP status.
        title: kind of the problem.
        detail: what is wrong and what to do.
        request_id: identifies the request in the service's log.
        retry_after: seconds to wait before a retry, if the service named them.
    """

    def __init__(self, problem: Problem, retry_after: float | None = None) -> None:
        super().__init__(f"{problem.status} {problem.title}: {problem.detail}")
        self.status, self.title, self.detail = problem.status, problem.title, problem.detail
        self.request_id = problem.request_id
        self.retry_after = retry_after

    @staticmethod
    def of(problem: Problem, retry_after: float | None = None) -> "ProblemError":
        """Return an error of the class that fits the problem's status."""
        kind: type[ProblemError] = RefusedError if problem.status < 500 else FailedError
        if problem.status in (429, 503):
            kind = BusyError
        return kind(problem, retry_after)


class RefusedError(ProblemError):
    """The request is wrong, as `detail` says; repeating it gives the same answer."""


class BusyError(ProblemError):
    """The service has too much work, is not ready or is shutting down."""


class FailedError(ProblemError):
    """The service failed on the request, or did not finish it in time."""
