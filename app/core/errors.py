"""The exception classes of Doppelkopf, as one tree.

DoppelkopfError
├── StartupError               a command cannot run: one sentence on stderr, exit code 1
│   ├── SettingsError          a setting is unknown, malformed or contradicts another
│   ├── CheckpointError        a checkpoint folder is damaged or does not fit
│   └── DataError              a data file cannot be used; names file, row and column
└── ServiceError               one request fails: a status and a problem document
    ├── MalformedRequestError  400, the bytes received are not HTTP
    ├── MalformedBodyError     400, the body is not JSON
    ├── UnauthorizedError      401, the API key is missing or wrong
    ├── SlowBodyError          408, the body did not arrive in time
    ├── SwapRunningError       409, another checkpoint is being loaded
    ├── BodyTooLargeError      413
    ├── MediaTypeError         415, not JSON, or compressed
    ├── InvalidRequestError    422, a field or header is invalid
    ├── CheckpointRefusedError 422, the old checkpoint stays in service
    ├── OverloadedError        429, with Retry-After
    ├── HeadTooLargeError      431
    ├── ClientLeftError        499, for logs and metrics; there is no client to send it to
    ├── EngineError            500, the engine failed on this batch
    │   └── FatalEngineError   500, the device is lost; the process has to restart
    ├── NotReadyError          503, starting, draining or failed
    └── DeadlineExceededError  504

A message may be shown to a client: it contains no internals and says what to do. The original
error is chained as `__cause__`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar


class DoppelkopfError(Exception):
    """Base class of all errors that Doppelkopf raises on purpose."""


class StartupError(DoppelkopfError):
    """A command cannot run; its message is the one sentence that the user sees."""


class SettingsError(StartupError):
    """A setting is unknown, malformed or contradicts another."""


class CheckpointError(StartupError):
    """A checkpoint folder is damaged, incomplete or contradicts its own configuration."""


class DataError(StartupError):
    """A data file cannot be read, or its content cannot be used."""

    @classmethod
    def at(
        cls, file: object, message: str, *, row: int | None = None, column: str | None = None
    ) -> "DataError":
        """Return an error whose message starts with the place in the file.

        Args:
            file: path of the file.
            message: what is wrong, as the end of the sentence.
            row: 1-based; the header does not count.
            column: name of the column.
        """
        place = [str(file)]
        if row is not None:
            place.append(f"row {row}")
        if column is not None:
            place.append(f"column '{column}'")
        return cls(f"{', '.join(place)}: {message}")


class ServiceError(DoppelkopfError):
    """One request fails; it is answered with a problem document (RFC 9457).

    Attributes:
        status: HTTP status.
        title: short name of the kind of error, the same for every instance.
        description: sentence that describes the status in the OpenAPI document.
        headers: additional headers of the response.
        reason: label for log and metrics, where it is more specific than `title`; else empty.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    description: ClassVar[str] = "Something unexpected failed."
    headers: Mapping[str, str] = MappingProxyType({})
    reason = ""


class MalformedRequestError(ServiceError):
    """The bytes received are not a valid HTTP request."""

    status = 400
    title = "Malformed request"


class MalformedBodyError(ServiceError):
    """The body is not JSON."""

    status = 400
    title = "Malformed body"
    description = "The body is not JSON in UTF-8."


class UnauthorizedError(ServiceError):
    """The request has no API key, or a wrong one."""

    status = 401
    title = "Unauthorized"
    description = "The server has API keys and none of them was sent."
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class SlowBodyError(ServiceError):
    """The body did not arrive in time."""

    status = 408
    title = "Request Timeout"
    description = "The body was not there in time."
    # Otherwise the rest of the body would be parsed as the next request of the connection.
    headers = MappingProxyType({"Connection": "close"})


class SwapRunningError(ServiceError):
    """A checkpoint swap is under way: the new one is loading, or the old one still in use."""

    status = 409
    title = "Swap running"


class BodyTooLargeError(ServiceError):
    """The body is larger than the server's limit."""

    status = 413
    title = "Body too large"
    description = "The body is larger than the server takes."


class MediaTypeError(ServiceError):
    """The body's Content-Type is not JSON, or the body is compressed."""

    status = 415
    title = "Unsupported media type"
    description = "The body is not sent as JSON, or it is compressed."
    headers = MappingProxyType({"Accept-Encoding": "identity"})


class InvalidRequestError(ServiceError):
    """The body is JSON but does not match the schema, or a header has an invalid value."""

    status = 422
    title = "Invalid request"
    description = (
        "A field is missing, unknown, there twice or of the wrong type; `detail` names it."
    )


class CheckpointRefusedError(ServiceError):
    """The checkpoint to swap to cannot be served; the server keeps the one it has."""

    status = 422
    title = "Checkpoint refused"


class OverloadedError(ServiceError):
    """Too much work is admitted already; the client should try again later.

    Args:
        message: the problem document's detail.
        retry_after: seconds until a retry makes sense, at least 1.
        reason: label of the metric that counts refused requests.
    """

    status = 429
    title = "Too many requests"
    description = "Too much work is waiting; try again after as many seconds as `Retry-After` says."

    def __init__(self, message: str, retry_after: int, reason: str) -> None:
        super().__init__(message)
        self.retry_after, self.reason = retry_after, reason
        self.headers = {"Retry-After": str(retry_after)}

    def __reduce__(self) -> tuple[type["OverloadedError"], tuple[str, int, str]]:
        """Pickle all arguments: `Exception` would pass the message alone, and unpickling fail."""
        return type(self), (str(self), self.retry_after, self.reason)


class HeadTooLargeError(ServiceError):
    """A request's path and headers are larger than the server's limit."""

    status = 431
    title = "Request header fields too large"


class ClientLeftError(ServiceError):
    """The client disconnected before it was answered; its work was dropped."""

    status = 499
    title = "Client closed request"


class EngineError(ServiceError):
    """The engine failed on a batch or on one ad; other requests are not affected."""

    status = 500
    title = "Inference failed"
    description = "The engine failed on this work; others go on."


class FatalEngineError(EngineError):
    """The device is lost; the process cannot answer any request until it restarts."""


class NotReadyError(ServiceError):
    """The service is starting, draining or has failed, so it takes no requests."""

    status = 503
    title = "Not ready"
    description = "The service is still loading, or shutting down."


class DeadlineExceededError(ServiceError):
    """The request's own time limit passed before it was answered."""

    status = 504
    title = "Deadline exceeded"
    description = "The deadline of `X-Request-Timeout-Ms` passed; the work was dropped."


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without a full stop or colon at its end.

    Used to end a sentence with a library's reason: `f"{path} cannot be read: {first_line(error)}."`
    For an error without a message it is the name of its class.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".:")
