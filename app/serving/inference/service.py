"""One ad's way: admitted, tokenized, batched, named. Knows neither HTTP nor tensors."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

from app.core.errors import DeadlineExceededError, NotReadyError, OverloadedError
from app.core.head_labels import labels_of
from app.core.postprocessing import prediction
from app.core.served_model import ServedModel
from app.core.types import Ad, Encoded, ModelName, Prediction, Scores
from app.serving.metrics import Metrics
from app.serving.request_trace import QUEUE, TOKENIZE, current
from app.serving.scheduling.admission import REPLACED, AdmissionController, Ticket
from app.serving.scheduling.lanes import Lane
from app.text.tokenization import AdTokenizer

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

    house: AdmissionController

    def start(self) -> None:
        """Begin, inside the event loop."""

    async def classify(self, encoded: Sequence[Encoded], admission: Ticket, /) -> list[Scores]:
        """Return the scores of an admitted request's ads, in order."""

    async def drain(self, grace_seconds: float, /) -> None:
        """Admit nothing more and finish what was admitted."""

    async def retire(self) -> None:
        """End, once nobody waits, and free what computes; the house stays open to others."""


class Classifier(Protocol):
    """What the routes ask: a `Service`, here or on other machines."""

    @property
    def model(self) -> ServedModel:
        """What is served."""

    def named(self, model: ModelName, /) -> ServedModel:
        """Return the model that gave an answer."""

    async def classify(
        self, ads: Sequence[Ad], *, lane: Lane, top_k: int, timeout_seconds: float | None = None
    ) -> list[Prediction]:
        """See `Service.classify`."""

    async def classify_bulk(self, ads: Sequence[Ad], top_k: Sequence[int], /) -> list[Prediction]:
        """See `Service.classify_bulk`."""

    async def check_capacity(self) -> None:
        """See `Service.check_capacity`."""

    async def require_ready(self) -> None:
        """See `Service.require_ready`."""

    async def closed(self) -> None:
        """See `Service.closed`."""

    async def drain(self, grace_seconds: float, /) -> None:
        """See `Service.drain`."""


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
        self._left = False
        metrics.expect_labels(self._labels)
        metrics.tell_model(model.name, model.revision, model.device, model.dtype)
        batcher.start()

    def named(self, model: ModelName) -> ServedModel:  # noqa: ARG002  there is but one
        """Return the model that gave one of this service's answers."""
        return self.model

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
            with self.in_use():
                current().ads += len(ads)
                with self._batcher.house.admit(len(ads), self._estimate(ads), lane) as admission:
                    encoded, scored = await self._scored(ads, admission)
        return self._predictions(encoded, scored, [top_k] * len(ads))

    async def classify_bulk(self, ads: Sequence[Ad], top_k: Sequence[int]) -> list[Prediction]:
        """Answer as `classify` does in the bulk lane, but wait for room and be never refused.

        Args:
            ads: a part of a bulk job, no more than a batch has.
            top_k: for each of them.

        Raises:
            NotReadyError: the service is draining or has lost its device.
            EngineError: the engine failed on one of the ads.
        """
        current().ads += len(ads)
        with self.in_use():
            while True:
                with await self._batcher.house.wait(len(ads), self._estimate(ads)) as admission:
                    try:
                        encoded, scored = await self._scored(ads, admission)
                    except OverloadedError:
                        continue  # the engine became slow; once more, behind the others
                return self._predictions(encoded, scored, top_k)

    async def scored(self, ads: Sequence[Ad], lane: Lane) -> list[Scores]:
        """Return all probabilities of texts that are no ads to be answered, nor counted as such.

        Otherwise as `classify`.
        """
        with (
            self.in_use(),
            self._batcher.house.admit(len(ads), self._estimate(ads), lane) as admission,
        ):
            _, scored = await self._scored(ads, admission)
        return scored

    async def without_markup(self, ad: Ad) -> Ad:
        """Return an ad as its reading finds it; see `AdTokenizer.without_markup`."""
        with self.in_use():
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, self._tokenizer.without_markup, ad
            )

    def seconds_for(self, tokens: int) -> float:
        """Return how long the engine needs for so many tokens, at the rate it shows."""
        return tokens / self._batcher.house.rate

    async def _scored(
        self, ads: Sequence[Ad], admission: Ticket
    ) -> tuple[Sequence[Encoded], list[Scores]]:
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
        return encoded, scored

    def _predictions(
        self, encoded: Sequence[Encoded], scored: Sequence[Scores], top_k: Sequence[int]
    ) -> list[Prediction]:
        answers = [
            prediction(self.model.identity, item, scores, self._labels, count)
            for item, scores, count in zip(encoded, scored, top_k, strict=True)
        ]
        for answer in answers:
            self._metrics.record_prediction(answer)
        return answers

    def _estimate(self, ads: Sequence[Ad]) -> int:
        return sum(self._tokenizer.estimate(ad) for ad in ads)

    # Not awaiting anything, and a coroutine all the same: elsewhere another machine is asked.
    async def check_capacity(self) -> None:
        """Return if a bulk job may begin; its ads wait for room, once it has.

        Raises:
            OverloadedError: too much work is waiting already.
            NotReadyError: the service is draining or has lost its device.
        """
        self._batcher.house.check_capacity(1, self._tokenizer.longest, Lane.BULK)

    async def closed(self) -> None:
        """Wait until no more ads are taken."""
        await self._batcher.house.closed()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the service from retiring meanwhile.

        Raises:
            NotReadyError: it has.
        """
        if self._left:
            raise NotReadyError(REPLACED)
        self._calls += 1
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def require_ready(self) -> None:
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
        self._left = True
        await self._batcher.retire()
        self._threads.shutdown(wait=False)
