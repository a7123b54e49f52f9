"""One ad's way: admitted, tokenized, batched, named. Knows neither HTTP nor tensors."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

from app.admission import Admission, House
from app.errors import DeadlineExceededError, OverloadedError
from app.heads import labels_of
from app.lanes import Lane
from app.metrics import Metrics
from app.records import Ad, Encoded, Prediction, Scores
from app.scoring import prediction
from app.served import ServedModel
from app.tokenization import AdTokenizer
from app.trace import QUEUE, TOKENIZE, current

# The tokenizer releases the GIL; two are enough to keep ahead of the engine and leave it its cores.
TOKENIZER_THREADS = 2


class Batcher(Protocol):
    """Where encoded ads get their scores: a `MicroBatcher`, or a `Remote` one."""

    house: House

    def start(self) -> None:
        """Begin, inside the event loop."""

    async def classify(self, encoded: Sequence[Encoded], admission: Admission, /) -> list[Scores]:
        """Return the scores of an admitted request's ads, in order."""

    async def drain(self, grace_seconds: float, /) -> None:
        """Admit nothing more and finish what was admitted."""

    async def retire(self) -> None:
        """End, once nobody waits, and free what computes; the house stays open to others."""


class Service:
    """Answers ads in order of admission. Everything but tokenizing happens in one event loop."""

    def __init__(
        self, model: ServedModel, tokenizer: AdTokenizer, batcher: Batcher, metrics: Metrics
    ) -> None:
        self.model = model
        self._tokenizer, self._batcher, self._metrics = tokenizer, batcher, metrics
        self._labels = labels_of(model.heads)
        self._threads = ThreadPoolExecutor(TOKENIZER_THREADS, thread_name_prefix="tokenizer")
        self._inside = self._calls = 0
        metrics.expect_labels(self._labels)
        metrics.tell_model(model.name, model.revision, model.device, model.dtype)
        batcher.start()

    async def classify(
        self, ads: Sequence[Ad], *, lane: Lane, top_k: int, timeout_seconds: float | None = None
    ) -> list[Prediction]:
        """Return every ad's `top_k` labels of both heads, in order.

        Cancelling the call, or its time running out, takes its ads out of the queue.

        Raises:
            OverloadedError: too much work is waiting already.
            NotReadyError: the service is draining or has lost its device.
            EngineError: the engine failed on one of the ads.
            DeadlineExceededError: `timeout_seconds` have passed.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                with self._visit():
                    return await self._classify(ads, lane, top_k)
        except TimeoutError as error:
            raise DeadlineExceededError(
                "The answer was not there within X-Request-Timeout-Ms; its work was dropped."
            ) from error

    async def _classify(self, ads: Sequence[Ad], lane: Lane, top_k: int) -> list[Prediction]:
        current().ads += len(ads)
        with self._batcher.house.admit(len(ads), self._estimate(ads), lane) as admission:
            return await self._answer(ads, admission, [top_k] * len(ads))

    async def classify_when_there_is_room(
        self, ads: Sequence[Ad], top_k: Sequence[int]
    ) -> list[Prediction]:
        """Answer as `classify` does in the bulk lane, but wait for room and be never refused.

        Args:
            ads: a part of a bulk job, no more than a batch has.
            top_k: for each of them.

        Raises:
            NotReadyError: the service is draining or has lost its device.
            EngineError: the engine failed on one of the ads.
        """
        current().ads += len(ads)
        with self._visit():
            while True:
                with await self._batcher.house.wait(len(ads), self._estimate(ads)) as admission:
                    try:
                        return await self._answer(ads, admission, top_k)
                    except OverloadedError:
                        continue  # the engine became slow; once more, behind the others

    async def _answer(
        self, ads: Sequence[Ad], admission: Admission, top_k: Sequence[int]
    ) -> list[Prediction]:
        trace = current()
        trace.enter(TOKENIZE)
        begin = time.perf_counter()
        encoded = await asyncio.get_running_loop().run_in_executor(
            self._threads, self._tokenizer.encode, ads
        )
        self._metrics.tokenize_seconds.observe(time.perf_counter() - begin)
        trace.tokens += sum(item.tokens for item in encoded)
        trace.enter(QUEUE)
        scored = await self._batcher.classify(encoded, admission)
        trace.leave()
        answers = [
            prediction(item, scores, self._labels, count)
            for item, scores, count in zip(encoded, scored, top_k, strict=True)
        ]
        for answer in answers:
            self._metrics.record_prediction(answer)
        return answers

    def _estimate(self, ads: Sequence[Ad]) -> int:
        return sum(self._tokenizer.estimate(ad) for ad in ads)

    def require_room(self) -> None:
        """Return if a bulk job may begin; its ads wait for room, once it has.

        Raises:
            OverloadedError: too much work is waiting already.
            NotReadyError: the service is draining or has lost its device.
        """
        self._batcher.house.require_room(1, self._tokenizer.longest, Lane.BULK)

    async def closed(self) -> None:
        """Wait until no more ads are taken."""
        await self._batcher.house.closed()

    @contextmanager
    def _visit(self) -> Iterator[None]:
        self._calls += 1
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    def require_ready(self) -> None:
        """Return if ads can be classified.

        Raises:
            NotReadyError: the service is draining or has lost its device.
        """
        self._batcher.house.require_ready()

    async def drain(self, grace_seconds: float) -> None:
        """Take nothing more and finish what was admitted."""
        await self._batcher.drain(grace_seconds)
        self._threads.shutdown(wait=False)

    async def retire(self, quiet_seconds: float) -> None:
        """Finish what was asked of this service, then free what computes.

        Its successor is asked instead, but for requests that hold this one already: those that were
        just being read, or that ask twice. So it stays until nobody has asked for a while.

        Args:
            quiet_seconds: how long that is.
        """
        seen = -1
        while self._inside or seen != self._calls:
            seen = self._calls
            await asyncio.sleep(quiet_seconds)
        await self._batcher.retire()
        self._threads.shutdown(wait=False)
