"""A service without network: a transport for the clients that answers and records requests."""

import asyncio
import json
from collections.abc import Callable, Iterator

import httpx

from app.client import AsyncDoppelkopfClient, DoppelkopfClient
from app.core.head_labels import HEADS
from app.schemas.examples import EXAMPLE_ANSWER

MODEL = {
    "name": "fake", "revision": "1", "device": "cpu", "dtype": "float32", "parameters": 1,
    "heads": {head: {"labels": [], "ordered": False} for head in HEADS},
    "limits": {
        "max_length": 64,
        "max_windows": 4,
        "max_batch_ads": 4,
        "explain": True,
        "max_body_bytes": 4096,
    },
}  # fmt: skip


def problem_response(status: int, title: str = "Odd", **headers: str) -> httpx.Response:
    """Return a problem document; headers are given with underscores."""
    document = {
        "type": "urn:x", "title": title, "status": status, "detail": "Do this.", "request_id": "r7",
    }  # fmt: skip
    return httpx.Response(
        status,
        json=document,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def error_line(line: int, status: int, *, resume: bool) -> bytes:
    return _json_line({"line": line, "resume": resume, "error": problem_response(status).json()})


def answer_line(line: int, ad: dict) -> bytes:
    return _json_line(
        {"line": line, **EXAMPLE_ANSWER, "id": ad.get("id"), "new": "of a newer service"}
    )


def _json_line(content: dict) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode() + b"\n"


class BrokenBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A response body whose connection breaks after some bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        raise httpx.ReadError("broken")

    async def __aiter__(self):
        for chunk in self:
            yield chunk


class FakeService:
    """Answers requests like a service, after the answers or errors given as `first`.

    A callable of `first` gets the request and returns the answer. `/model` is always answered.
    Sleeping advances the fake clock `now` and is recorded in `pauses`, in seconds.
    """

    def __init__(self, *first: httpx.Response | Exception | Callable) -> None:
        self.first = list(first)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []
        self.now = 0.0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.path == "/model":
            return httpx.Response(200, json=MODEL)
        if self.first:
            answer = self.first.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer if isinstance(answer, httpx.Response) else answer(request)
        if request.url.path == "/classify":
            return httpx.Response(200, json=EXAMPLE_ANSWER)
        if request.url.path == "/classify/batch":
            ads = json.loads(request.content)["ads"]
            return httpx.Response(
                200, json={"results": [EXAMPLE_ANSWER | {"id": ad.get("id")} for ad in ads]}
            )
        if request.url.path == "/classify/stream":
            return httpx.Response(200, content=b"".join(self.lines(request)))
        return httpx.Response(200, json={"status": "ready"})

    @staticmethod
    def lines(request: httpx.Request) -> list[bytes]:
        """Return the answer lines of all ads of a stream request."""
        first = int(request.headers["x-first-line"])
        ads = [json.loads(line) for line in request.content.splitlines()]
        return [answer_line(first + number, ad) for number, ad in enumerate(ads)]

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def async_sleep(self, seconds: float) -> None:
        self.sleep(seconds)

    def requests_to(self, path: str) -> list[httpx.Request]:
        return [request for request in self.requests if request.url.path == path]


class EitherClient:
    """The blocking or the async client in front of a fake service, called in the same way.

    Args:
        kind: "blocking", or anything else for the async client.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, fake: FakeService, method: str, *args, **options):
        """Call a method of the client; returns its answer, or a list of what it yields."""
        settings = {
            name: options.pop(name) for name in ("api_key", "retries") if name in options
        } | {
            "transport": httpx.MockTransport(fake),
            "clock": lambda: fake.now,
            "uniform": lambda _, high: high,
        }
        if self.kind == "blocking":
            with DoppelkopfClient("http://fake", sleep=fake.sleep, **settings) as client:
                answer = getattr(client, method)(*args, **options)
                return list(answer) if isinstance(answer, Iterator) else answer
        return asyncio.run(self._run(fake, settings, method, args, options))

    async def _run(self, fake, settings, method, args, options):
        client = AsyncDoppelkopfClient("http://fake", sleep=fake.async_sleep, **settings)
        async with client:
            answer = getattr(client, method)(*args, **options)
            if hasattr(answer, "__aiter__"):
                return [one async for one in answer]
            return await answer
