"""Why this answer: what each sentence of an ad does to the prediction, by leaving it out."""

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise

from app.core.errors import InvalidRequestError, OverloadedError
from app.core.types import Ad, ExplainedSentence, Explanation, Prediction, Scores
from app.serving.inference.service import Service, deadline
from app.serving.metrics import Metrics
from app.serving.request_trace import EXPLAIN, current, detached
from app.serving.scheduling.admission import MAX_RETRY_SECONDS
from app.serving.scheduling.lanes import Lane
from app.serving.settings import Settings
from app.text.sentences import Span, merged, sentences

MAX_VARIANTS = 32
"""Readings of an ad beside its own: without its title, and without each of its sentences."""

BUSY = "explain_busy"


@dataclass(frozen=True, slots=True)
class _Parts:
    """An ad, and what is left out of it in turn."""

    ad: Ad
    spans: list[Span]

    def variants(self) -> list[Ad]:
        """Return the ad without its title, if it has one, then without each span."""
        text = self.ad.text
        # Up to the next: the white space between two would be left over.
        starts = [*(start for start, _ in self.spans), len(text)]
        without = [
            replace(self.ad, text=text[:start] + text[end:]) for start, end in pairwise(starts)
        ]
        return [*([replace(self.ad, title=None)] if self.ad.title else []), *without]


class Explainer:
    """Explains single ads, a few at once and each in a bounded number of tokens."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._at_once, self._tokens = settings.explain_concurrency, settings.explain_tokens
        self._most = min(MAX_VARIANTS, settings.max_queued_ads)
        self._metrics = metrics
        self._running = 0

    async def explain(
        self, service: Service, ad: Ad, *, top_k: int, timeout_seconds: float | None = None
    ) -> tuple[Prediction, Explanation]:
        """Classify an ad as any other, then tell what each of its sentences did to the answer.

        A sentence's weight for a head is p(label | ad) - p(label | ad without the sentence), the
        label being the predicted one: leave-one-out, as "erasure" in Li, Monroe and Jurafsky 2016,
        "Understanding Neural Networks through Representation Erasure". It lies in [-1, 1]; above 0
        the sentence speaks for the label. The weights of several do not add up: of two sentences
        that say the same, neither is missed. The variants wait in the bulk lane.

        Raises:
            InvalidRequestError: explanations are switched off.
            OverloadedError: too many are under way, or too much work is waiting already.
            ServiceError: whatever else `Service.classify` raises.
        """
        with self._place(service), service.in_use():
            async with deadline(timeout_seconds):
                (prediction,) = await service.classify([ad], lane=Lane.INTERACTIVE, top_k=top_k)
                current().enter(EXPLAIN)
                parts = await self._parts(service, ad, prediction.tokens)
                variants = parts.variants()
                with detached():
                    # A text without any word is left as it is.
                    scored = await service.scored(variants, Lane.BULK) if variants else []
                current().leave()
        self._metrics.explanations.inc()
        self._metrics.explanation_variants.inc(len(variants))
        return prediction, _explanation(service, ad, parts, prediction, scored)

    @contextmanager
    def _place(self, service: Service) -> Iterator[None]:
        if not self._at_once:
            raise InvalidRequestError("body.explain: this server does not explain; leave it out.")
        if self._running >= self._at_once:
            self._metrics.rejected.labels(BUSY).inc()
            # Until one of those under way has ended, were it as long as they may be.
            seconds = math.ceil(service.seconds_for(self._tokens))
            retry_after = min(max(1, seconds), MAX_RETRY_SECONDS)
            raise OverloadedError(
                f"{self._running} explanations are under way; "
                f"try again in {retry_after} s, or leave `explain` out.",
                retry_after,
                BUSY,
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def _parts(self, service: Service, ad: Ad, tokens: int) -> _Parts:
        plain = await service.without_markup(ad)
        most = min(self._most, self._tokens // tokens) - bool(plain.title)
        # In a thread: an ad may have a hundred thousand characters.
        found = await asyncio.to_thread(lambda: merged(sentences(plain.text), max(1, most)))
        return _Parts(plain, found)


def _explanation(
    service: Service,
    ad: Ad,
    parts: _Parts,
    prediction: Prediction,
    scored: Sequence[Scores],
) -> Explanation:
    columns = {
        head: list(service.model.heads[head].labels).index(top[0].label)
        for head, top in prediction.heads.items()
    }
    weights: list[Mapping[str, float]] = [
        {
            head: prediction.heads[head][0].probability - float(one.probabilities[head][column])
            for head, column in columns.items()
        }
        for one in scored
    ]
    title = weights.pop(0) if parts.ad.title else None
    # Where it was no HTML, what was read is what was sent but for the white space around.
    text = parts.ad.text
    offset = len(ad.text) - len(ad.text.lstrip())
    as_sent = ad.text.startswith(text, offset)
    return Explanation(
        text=None if as_sent else text,
        title_text=None if parts.ad.title == (ad.title or "").strip() else parts.ad.title,
        title=title,
        sentences=tuple(
            ExplainedSentence(start + offset * as_sent, end + offset * as_sent, weight)
            for (start, end), weight in zip(parts.spans, weights, strict=True)
        ),
    )
