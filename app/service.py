"""One ad's way: admitted, tokenized, batched, named. Knows neither HTTP nor tensors."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Protocol

from app.admission import Admission, House
from app.errors import DeadlineExceededError
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


@asynccontextmanager
async def deadline(seconds: float | None) -> AsyncIterator[None]:
    """Give a block so many seconds (None: all it needs), then cancel what it awaits.

    Raises:
        DeadlineExceededError: they have passed.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise DeadlineExceededError(
            "The answer was not there within X-Request-Timeout-Ms; its work was dropped."
        ) from error


class Batcher(Protocol):
    """Where encoded ads get their scores: a `MicroBatcher`, or a `Remote` one."""

    house: House

    def start(self) -> None:
        """Begin, inside the event loop."""

    async def classify(self, encoded: Sequence[Encoded], admission: Admission, /) -> list[Scores]:
        """Return the scores of an admitted request's ads, in order."""

    async def drain(self, grace_seconds: float, /) -> None:
        """Admit nothing more and finish what was admitted."""


class Service:
    """Answers ads in order of admission. Everything but tokenizing happens in one event loop."""

    def __init__(
        self, model: ServedModel, tokenizer: AdTokenizer, batcher: Batcher, metrics: Metrics
    ) -> None:
        self.model = model
        self._tokenizer, self._batcher, self._metrics = tokenizer, batcher, metrics
        self._labels = labels_of(model.heads)
        self._threads = ThreadPoolExecutor(TOKENIZER_THREADS, thread_name_prefix="tokenizer")
        metrics.expect_labels(self._labels)
        metrics.model_info.labels(model.name, model.revision, model.device, model.dtype).set(1)
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
        async with deadline(timeout_seconds):
            current().ads += len(ads)
            encoded, scored = await self._scored(ads, lane)
        answers = [
            prediction(item, scores, self._labels, top_k)
            for item, scores in zip(encoded, scored, strict=True)
        ]
        for answer in answers:
            self._metrics.record_prediction(answer)
        return answers

    async def scored(self, ads: Sequence[Ad], lane: Lane) -> list[Scores]:
        """Return all probabilities of texts that are no ads to be answered, nor counted as such.

        Otherwise as `classify`.
        """
        _, scored = await self._scored(ads, lane)
        return scored

    async def plain(self, ad: Ad) -> Ad:
        """Return an ad as its reading finds it; see `AdTokenizer.plain`."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, self._tokenizer.plain, ad
        )

    def seconds_for(self, tokens: int) -> float:
        """Return how long the engine needs for so many tokens, at the rate it shows."""
        return tokens / self._batcher.house.rate

    async def _scored(
        self, ads: Sequence[Ad], lane: Lane
    ) -> tuple[Sequence[Encoded], list[Scores]]:
        trace = current()
        estimate = sum(self._tokenizer.estimate(ad) for ad in ads)
        with self._batcher.house.admit(len(ads), estimate, lane) as admission:
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
        return encoded, scored

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
