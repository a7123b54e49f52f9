"""What a call of the client may raise.

DoppelkopfError
└── CallError                   the call has no answer; `str` of it says what to do
    ├── UnreachableError        no answer came in time: no connection, a broken one, none listens
    ├── ForeignAnswerError      what answered is no Doppelkopf, or one that this client cannot read
    └── ProblemError            a problem document: `status`, `title`, `detail`, `request_id`
        ├── RefusedError        4xx: the same request will be refused again
        ├── BusyError           429, 503, or the end of a stream: later it may be taken
        └── FailedError         500, 504: this time it failed, or took too long

`UnreachableError` and `BusyError` are raised when trying again did not help.
"""

from app.core.errors import DoppelkopfError
from app.schemas.problem import Problem


class CallError(DoppelkopfError):
    """A call of the client has no answer."""


class UnreachableError(CallError):
    """No answer came, and none is likely to come now."""


class ForeignAnswerError(CallError):
    """What answered is no Doppelkopf, or one of a version that this client cannot read."""


class ProblemError(CallError):
    """The service answered with a problem document (RFC 9457).

    `status` is the HTTP status, `title` names the kind, `detail` says what to do, `request_id`
    finds the request in the service's log.
    """

    def __init__(self, problem: Problem, retry_after: float | None = None) -> None:
        super().__init__(f"{problem.status} {problem.title}: {problem.detail}")
        self.status, self.title, self.detail = problem.status, problem.title, problem.detail
        self.request_id = problem.request_id
        self.retry_after = retry_after
        """Seconds to stay away, where the service has said so."""

    @staticmethod
    def of(problem: Problem, retry_after: float | None = None) -> "ProblemError":
        """Return the error that stands for a problem's status."""
        kind: type[ProblemError] = RefusedError if problem.status < 500 else FailedError
        if problem.status in (429, 503):
            kind = BusyError
        return kind(problem, retry_after)


class RefusedError(ProblemError):
    """The request is wrong; `detail` names what, and the same again is refused again."""


class BusyError(ProblemError):
    """The service has too much work, is not ready or is ending."""


class FailedError(ProblemError):
    """The service failed on this work, or did not finish it in time."""
