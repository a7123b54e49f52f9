"""The service: from ads to predictions, through admission, tokenizer and batcher.

It uses neither HTTP nor tensors.
"""

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
from app.core.types import Ad, EncodedAd, ModelIdentity, Prediction, Scores
from app.serving.metrics import Metrics
from app.serving.request_trace import QUEUE, TOKENIZE, current
from app.serving.scheduling.admission import REPLACED, AdmissionController, Ticket
from app.serving.scheduling.lanes import Lane
from app.text.tokenization import AdTokenizer

TOKENIZER_THREADS = 2
"""The tokenizer releases the GIL. Two threads are faster than the engine and leave it its cores."""


@asynccontextmanager
async def deadline(seconds: float | None) -> AsyncIterator[None]:
    """Limit a block to these seconds, then cancel what it awaits; None sets no limit.

    Raises:
        DeadlineExceededError: the time has passed.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise DeadlineExceededError(
            "The answer was not there within X-Request-Timeout-Ms; its work was dropped."
        ) from error


class Batcher(Protocol):
    """Turns encoded ads into scores: a `MicroBatcher`, or a `RemoteBatcher` in a front end."""

    admission: AdmissionController

    def start(self) -> None:
        """Start; call it once, inside the event loop."""

    async def classify(self, encoded: Sequence[EncodedAd], ticket: Ticket, /) -> list[Scores]:
        """Return the scores of an admitted request's ads, in order."""

    async def drain(self, grace_seconds: float, /) -> None:
        """Stop admitting and finish what was admitted."""

    async def retire(self) -> None:
        """Stop and free the engine, once no request uses it; admission stays open."""


class Classifier(Protocol):
    """The interface that routes call: a `Service`, or a client of services on other machines."""

    @property
    def model(self) -> ServedModel:
        """The served model."""

    def model_named(self, model: ModelIdentity, /) -> ServedModel:
        """Return the model that gave an answer, by its name and revision."""

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
    """Classifies ads. Tokenizing runs in threads, everything else in one event loop."""

    def __init__(
        self, model: ServedModel, tokenizer: AdTokenizer, batcher: Batcher, metrics: Metrics
    ) -> None:
        self.model = model
        self._tokenizer, self._batcher, self._metrics = tokenizer, batcher, metrics
        self._labels = labels_of(model.heads)
        self._threads = ThreadPoolExecutor(TOKENIZER_THREADS, thread_name_prefix="tokenizer")
        self._active_calls = self._total_calls = 0
        self._retired = False
        metrics.expect_labels(self._labels)
        metrics.set_model(model.name, model.revision, model.device, model.dtype)
        batcher.start()

    def model_named(self, model: ModelIdentity) -> ServedModel:  # noqa: ARG002  there is only one
        """Return the model that gave an answer of this service: the only one it has."""
        return self.model

    async def classify(
        self, ads: Sequence[Ad], *, lane: Lane, top_k: int, timeout_seconds: float | None = None
    ) -> list[Prediction]:
        """Return each ad's `top_k` best labels of both heads, in the order of the ads.

        If the call is cancelled or its time is over, its ads leave the queue.

        Raises:
            OverloadedError: too much work is waiting.
            NotReadyError: the service is draining or has lost its device.
            EngineError: the engine failed on one of the ads.
            DeadlineExceededError: `timeout_seconds` have passed.
        """
        async with deadline(timeout_seconds):
            with self.in_use():
                current().ads += len(ads)
                with self._batcher.admission.admit(len(ads), self._estimate(ads), lane) as ticket:
                    encoded, scores = await self._compute(ads, ticket)
        return self._predictions(encoded, scores, [top_k] * len(ads))

    async def classify_bulk(self, ads: Sequence[Ad], top_k: Sequence[int]) -> list[Prediction]:
        """Classify in the bulk lane; waits for capacity instead of raising `OverloadedError`.

        Args:
            ads: a part of a bulk job, at most as many as a batch request may have.
            top_k: how many labels to return, for each ad.

        Raises:
            NotReadyError: the service is draining or has lost its device.
            EngineError: the engine failed on one of the ads.
        """
        current().ads += len(ads)
        tokens = self._estimate(ads)
        with self.in_use():
            while True:
                with await self._batcher.admission.wait_for_capacity(len(ads), tokens) as ticket:
                    try:
                        encoded, scores = await self._compute(ads, ticket)
                    except OverloadedError:
                        continue  # the engine became slow: wait again, after other jobs
                return self._predictions(encoded, scores, top_k)

    async def score_variants(self, variants: Sequence[Ad], lane: Lane) -> list[Scores]:
        """Return all labels' probabilities for variants of an ad, which do not count as ads.

        Raises the errors of `classify`.
        """
        tokens = self._estimate(variants)
        with self.in_use(), self._batcher.admission.admit(len(variants), tokens, lane) as ticket:
            _, scores = await self._compute(variants, ticket)
        return scores

    async def without_markup(self, ad: Ad) -> Ad:
        """Return the ad as plain text, as the tokenizer reads it."""
        with self.in_use():
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, self._tokenizer.without_markup, ad
            )

    def seconds_for(self, tokens: int) -> float:
        """Return the seconds that the engine needs for these tokens, at its measured rate."""
        return tokens / self._batcher.admission.rate

    async def _compute(
        self, ads: Sequence[Ad], ticket: Ticket
    ) -> tuple[Sequence[EncodedAd], list[Scores]]:
        """Tokenize admitted ads and return them encoded, with their scores."""
        trace = current()
        trace.enter(TOKENIZE)
        start = time.perf_counter()
        encoded = await asyncio.get_running_loop().run_in_executor(
            self._threads, self._tokenizer.encode, ads
        )
        self._metrics.tokenize_seconds.observe(time.perf_counter() - start)
        trace.tokens += sum(item.tokens for item in encoded)
        trace.enter(QUEUE)
        scores = await self._batcher.classify(encoded, ticket)
        trace.leave()
        return encoded, scores

    def _predictions(
        self, encoded: Sequence[EncodedAd], scores: Sequence[Scores], top_k: Sequence[int]
    ) -> list[Prediction]:
        predictions = [
            prediction(self.model.identity, item, its_scores, self._labels, count)
            for item, its_scores, count in zip(encoded, scores, top_k, strict=True)
        ]
        for one in predictions:
            self._metrics.record_prediction(one)
        return predictions

    def _estimate(self, ads: Sequence[Ad]) -> int:
        return sum(self._tokenizer.estimate_tokens(ad) for ad in ads)

    # A coroutine because of `Classifier`: a client of other machines awaits their reply here.
    async def check_capacity(self) -> None:
        """Return if a bulk job may start; its ads then wait for capacity in `classify_bulk`.

        Raises:
            OverloadedError: too much work is waiting.
            NotReadyError: the service is draining or has lost its device.
        """
        self._batcher.admission.check_capacity(1, self._tokenizer.max_ad_tokens, Lane.BULK)

    async def closed(self) -> None:
        """Return once no more ads are admitted."""
        await self._batcher.admission.closed()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the service from retiring while the block runs.

        Raises:
            NotReadyError: it has retired already.
        """
        if self._retired:
            raise NotReadyError(REPLACED)
        self._total_calls += 1
        self._active_calls += 1
        try:
            yield
        finally:
            self._active_calls -= 1

    async def require_ready(self) -> None:
        """Return if ads can be classified.

        Raises:
            NotReadyError: the service is draining or has lost its device.
        """
        self._batcher.admission.require_ready()

    async def drain(self, grace_seconds: float) -> None:
        """Stop admitting, and finish what was admitted within the grace period."""
        await self._batcher.drain(grace_seconds)
        self._threads.shutdown(wait=False)

    async def retire(self, quiet_seconds: float) -> None:
        """Wait until no request uses this service any more, then free its engine.

        New requests go to its successor; requests that already hold this service finish here. Some
        of them call later (their body is still being read) or more than once, so the service stays
        until there has been no call for a while.

        Args:
            quiet_seconds: how long there must be no call.
        """
        seen = -1
        while self._active_calls or seen != self._total_calls:
            seen = self._total_calls
            await asyncio.sleep(quiet_seconds)
        self._retired = True
        await self._batcher.retire()
        self._threads.shutdown(wait=False)
