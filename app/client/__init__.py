"""Python client of a running Doppelkopf service.

    from app.client import DoppelkopfClient

    with DoppelkopfClient("http://localhost:8000") as client:
        print(client.classify("Wir suchen eine Pflegefachkraft").job_category.label)

It needs httpx and pydantic, but neither torch nor the server's dependencies.
"""

from app.client.async_client import AsyncDoppelkopfClient
from app.client.errors import (
    BusyError,
    CallError,
    FailedError,
    ForeignAnswerError,
    ProblemError,
    RefusedError,
    UnreachableError,
)
from app.client.retries import Retries
from app.client.sync_client import DoppelkopfClient
from app.schemas.classify import AdIn, ClassifyResponse
from app.schemas.jobposting_response import JobPostingAnswer, JobPostingResponse
from app.schemas.model import ModelResponse
from app.schemas.stream import StreamAnswer, StreamError

__all__ = [
    "AdIn",
    "AsyncDoppelkopfClient",
    "BusyError",
    "CallError",
    "ClassifyResponse",
    "DoppelkopfClient",
    "FailedError",
    "ForeignAnswerError",
    "JobPostingAnswer",
    "JobPostingResponse",
    "ModelResponse",
    "ProblemError",
    "RefusedError",
    "Retries",
    "StreamAnswer",
    "StreamError",
    "UnreachableError",
]
