"""The client for asyncio."""

# ruff: noqa: ASYNC109  a timeout bounds tries and pauses here, as in the client that blocks

import asyncio
import random
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from app.client.calls import BULK_SECONDS, SECONDS, Call, Calls, Outcome, is_ready
from app.client.encoding import POOL, AdLike, batches, checked_key, problem_of, unreachable
from app.client.errors import CallError
from app.client.retries import Attempts, Retries
from app.client.stream_buffer import Pending
from app.core.types import Format
from app.schemas.classify import ClassifyResponse
from app.schemas.jobposting_response import JobPostingResponse
from app.schemas.model import Limits, ModelResponse
from app.schemas.ndjson import LineReader
from app.schemas.stream import StreamAnswer, StreamError

Answer = TypeVar("Answer")


class AsyncDoppelkopfClient:
    """Calls one service over kept connections; tasks may share it. Close it, or use `async with`.

    Every call raises a `CallError` where it has no answer; see `app.client.errors`. What may go
    better next time is tried again, as `Retries` says, until the call's timeout has passed.
    """

    def __init__(
        self,
        address: str,
        *,
        api_key: str | None = None,
        timeout: float = SECONDS,
        retries: Retries = Retries(),  # noqa: B008  frozen
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Take the service's address; nothing is sent yet.

        Args:
            address: as in "http://localhost:8000".
            api_key: sent as a bearer token, and shown nowhere.
            timeout: seconds of a call, with all its tries and pauses, where it does not say.
            retries: how often a call is tried.
            transport: sends the requests; by default over the network.
            sleep: waits some seconds.
            clock: seconds, monotonic.
            uniform: draws between two bounds.
        """
        self._http = httpx.AsyncClient(
            base_url=address, headers=checked_key(api_key), transport=transport, limits=POOL
        )
        self._calls = Calls(self._http.build_request, timeout, retries, clock, uniform)
        self._sleep = sleep
        self._limits: Limits | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._http.base_url)!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def classify(
        self,
        text: str,
        *,
        title: str | None = None,
        id: str | None = None,
        format: Format = "text",
        top_k: int = 3,
        explain: bool = False,
        timeout: float | None = None,
    ) -> ClassifyResponse:
        """Classify one ad; goes before those of `classify_many` and `stream`.

        Args:
            text: the ad, in full.
            title: its title, where there is one.
            id: comes back with the answer.
            format: how text and title are written; "auto" reads HTML where it finds some.
            top_k: labels to return for each head.
            explain: tell in `explanation` what each sentence does to the answer; takes longer.
            timeout: seconds, in place of the client's.
        """
        ad = {"text": text, "title": title, "id": id, "format": format}
        return await self._run(self._calls.classify(ad, top_k, explain, timeout))

    async def classify_jobposting(
        self, document: Mapping[str, Any], *, top_k: int = 3, timeout: float | None = None
    ) -> JobPostingResponse:
        """Classify schema.org postings; `patch` of each result is what to add to its posting.

        Args:
            document: JSON-LD, a JobPosting or an object with an `@graph` of them.
            top_k: labels to return for each head, where the document does not say.
            timeout: seconds, in place of the client's.
        """
        return await self._run(self._calls.jobposting(document, top_k, timeout))

    async def classify_many(
        self, ads: Iterable[AdLike], *, top_k: int = 3, timeout: float = BULK_SECONDS
    ) -> AsyncIterator[ClassifyResponse]:
        """Classify a list in batches as large as the service takes; yield answers in order.

        One ad that is refused fails its whole batch; `stream` answers it alone with an error.

        Args:
            ads: texts, objects with `text`, or `AdIn`; taken a batch at a time.
            top_k: labels to return for each head.
            timeout: seconds of a batch.
        """
        for content in batches(ads, await self._known_limits(), top_k):
            for answer in (await self._run(self._calls.batch(content, timeout))).results:
                yield answer

    async def stream(
        self,
        ads: Iterable[AdLike] | AsyncIterable[AdLike],
        *,
        top_k: int = 3,
        first_line: int = 1,
        timeout: float = BULK_SECONDS,
    ) -> AsyncIterator[StreamAnswer | StreamError]:
        """Classify any number of ads; yield an answer or an error for each, in order.

        Goes on by itself where a connection breaks or the service restarts: no ad is lost, and none
        is answered twice. Neither side holds more than a batch of them.

        Args:
            ads: texts, objects with `text`, or `AdIn`, ready or to be awaited; a part at a time.
            top_k: labels to return for each head, where an object does not say.
            first_line: number of the first ad, for a job that goes on where it ended once.
            timeout: seconds without any answer.
        """
        pending = Pending(await self._known_limits(), top_k, first_line)
        source = _each(ads)
        while True:
            pending.begin_part()
            async for ad in source:
                if not pending.offer(ad):
                    break
            if not pending:
                return
            attempts = self._calls.attempts(timeout)
            while pending:
                try:
                    async for answer in self._part(pending, attempts):
                        attempts.succeed()
                        yield answer
                except CallError as error:
                    pause = attempts.pause(error)
                    await self._sleep(pause)

    async def model(self, *, timeout: float | None = None) -> ModelResponse:
        """Tell what is served: labels, limits, device and revision."""
        return await self._run(self._calls.model(timeout))

    async def ready(self) -> bool:
        """Tell whether ads can be classified now; asks once."""
        try:
            return is_ready(await self._http.send(self._calls.ready()))
        except httpx.TransportError:
            return False

    async def _run(self, call: Call[Answer]) -> Answer:
        try:
            step = next(call)
            while True:
                if isinstance(step, float):
                    await self._sleep(step)
                    step = next(call)
                else:
                    step = call.send(await self._sent(step))
        except StopIteration as end:
            answer: Answer = end.value
            return answer

    async def _sent(self, request: httpx.Request) -> Outcome:
        try:
            return await self._http.send(request)
        except httpx.TransportError as error:
            return error

    async def _part(
        self, pending: Pending, attempts: Attempts
    ) -> AsyncIterator[StreamAnswer | StreamError]:
        """Send what is pending, and yield its answers as they come."""
        request = self._calls.part(pending, attempts)
        lines = LineReader(pending.next_line)
        try:
            response = await self._http.send(request, stream=True)
            try:
                if response.status_code != 200:
                    await response.aread()
                    raise problem_of(response)
                async for chunk in response.aiter_bytes():
                    for line in lines.feed(chunk):
                        yield pending.take(line.content or b"")
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            raise unreachable(error, request.url) from error
        pending.require_none()

    async def _known_limits(self) -> Limits:
        if self._limits is None:
            self._limits = (await self.model()).limits
        return self._limits


async def _each(ads: Iterable[AdLike] | AsyncIterable[AdLike]) -> AsyncIterator[AdLike]:
    if isinstance(ads, AsyncIterable):
        async for ad in ads:
            yield ad
    else:
        for ad in ads:
            yield ad
