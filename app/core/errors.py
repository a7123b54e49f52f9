"""Every error Doppelkopf raises on purpose.

DoppelkopfError
├── StartupError               the process ends: one sentence on stderr, exit code 1
│   ├── SettingsError          a setting is unknown, malformed or contradicts another
│   ├── CheckpointError        a checkpoint folder is damaged or does not fit
│   └── DataError              a data file cannot be used; names file, row and column
└── ServiceError               one request fails: a status and a problem document
    ├── MalformedRequestError  400, not HTTP at all
    ├── MalformedBodyError     400
    ├── UnauthorizedError      401
    ├── SlowBodyError          408
    ├── SwapRunningError       409, a checkpoint is being loaded already
    ├── BodyTooLargeError      413
    ├── MediaTypeError         415
    ├── InvalidRequestError    422
    ├── CheckpointRefusedError 422, what is served goes on
    ├── OverloadedError        429, with Retry-After
    ├── HeadTooLargeError      431
    ├── ClientLeftError        499, recorded and never sent
    ├── EngineError            500, this batch only
    │   └── FatalEngineError   500, the device is lost and the process has to end
    ├── NotReadyError          503, still starting, draining or failed
    └── DeadlineExceededError  504

A message is safe to show to a client and says what to do; the cause is chained.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar


class DoppelkopfError(Exception):
    """The root of the tree."""


class StartupError(DoppelkopfError):
    """What was asked for cannot begin; the message is the one sentence a person reads."""


class SettingsError(StartupError):
    """A setting is unknown, malformed or contradicts another."""


class CheckpointError(StartupError):
    """A checkpoint folder is damaged, incomplete or of another shape than it says."""


class DataError(StartupError):
    """A data file cannot be used."""

    @classmethod
    def at(
        cls, file: object, message: str, *, row: int | None = None, column: str | None = None
    ) -> "DataError":
        """Name the place: `file`, the 1-based data `row` (the header not counted), `column`."""
        place = [str(file)]
        if row is not None:
            place.append(f"row {row}")
        if column is not None:
            place.append(f"column '{column}'")
        return cls(f"{', '.join(place)}: {message}")


class ServiceError(DoppelkopfError):
    """One request fails; `status` and `title` go into its problem document.

    `headers` go beside it, `reason` into the log, where it is not the title; `when` stands in the
    API's description.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    when: ClassVar[str] = "Something unexpected failed."
    headers: Mapping[str, str] = MappingProxyType({})
    reason = ""


class MalformedRequestError(ServiceError):
    """What came over the connection is not HTTP."""

    status = 400
    title = "Malformed request"


class MalformedBodyError(ServiceError):
    """The body is not JSON."""

    status = 400
    title = "Malformed body"
    when = "The body is not JSON in UTF-8."


class UnauthorizedError(ServiceError):
    """The API key is missing or wrong."""

    status = 401
    title = "Unauthorized"
    when = "The server has API keys and none of them was sent."
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class SlowBodyError(ServiceError):
    """The body did not arrive in time."""

    status = 408
    title = "Request Timeout"
    when = "The body was not there in time."
    # What still comes of the body must not be read as the next request.
    headers = MappingProxyType({"Connection": "close"})


class SwapRunningError(ServiceError):
    """Another checkpoint is being loaded, or the one before has not gone yet."""

    status = 409
    title = "Swap running"


class BodyTooLargeError(ServiceError):
    """The body is larger than the server takes."""

    status = 413
    title = "Body too large"
    when = "The body is larger than the server takes."


class MediaTypeError(ServiceError):
    """The body is said to be something else than JSON, or it is compressed."""

    status = 415
    title = "Unsupported media type"
    when = "The body is not sent as JSON, or it is compressed."
    headers = MappingProxyType({"Accept-Encoding": "identity"})


class InvalidRequestError(ServiceError):
    """The body is JSON of another shape, or a header cannot be read."""

    status = 422
    title = "Invalid request"
    when = "A field is missing, unknown, there twice or of the wrong type; `detail` names it."


class CheckpointRefusedError(ServiceError):
    """A running server was asked to serve a checkpoint that it cannot serve."""

    status = 422
    title = "Checkpoint refused"


class OverloadedError(ServiceError):
    """The queue is full; `retry_after` in whole seconds, at least 1; `reason` as the metric's."""

    status = 429
    title = "Too many requests"
    when = "Too much work is waiting; try again after as many seconds as `Retry-After` says."

    def __init__(self, message: str, retry_after: int, reason: str) -> None:
        super().__init__(message)
        self.retry_after, self.reason = retry_after, reason
        self.headers = {"Retry-After": str(retry_after)}

    def __reduce__(self) -> tuple[type["OverloadedError"], tuple[str, int, str]]:
        """Let it be sent to another process whole."""
        return type(self), (str(self), self.retry_after, self.reason)


class HeadTooLargeError(ServiceError):
    """A request's address and headers are larger than the server takes."""

    status = 431
    title = "Request header fields too large"


class ClientLeftError(ServiceError):
    """The client disconnected before its answer was there; its work was dropped."""

    status = 499
    title = "Client closed request"


class EngineError(ServiceError):
    """The engine failed on this work; other requests go on."""

    status = 500
    title = "Inference failed"
    when = "The engine failed on this work; others go on."


class FatalEngineError(EngineError):
    """The device is lost; nothing can be answered any more."""


class NotReadyError(ServiceError):
    """The service is starting, draining or has failed."""

    status = 503
    title = "Not ready"
    when = "The service is still loading, or shutting down."


class DeadlineExceededError(ServiceError):
    """The request's own time limit passed before its answer was there."""

    status = 504
    title = "Deadline exceeded"
    when = "The deadline of `X-Request-Timeout-Ms` passed; the work was dropped."


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message without the stop or colon at its end.

    An error without a message gives the name of its class. For sentences that end with the reason
    another library gave: `f"{path} cannot be read: {first_line(error)}."`.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".:")
