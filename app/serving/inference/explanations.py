"""Explanations: how the prediction changes when each sentence of an ad is left out."""

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
from app.text.sentences import Span, merge_spans, sentences

MAX_VARIANTS = 32
"""Maximum variants of an ad: one without its title, and one without each of its sentences."""

BUSY = "explain_busy"
"""The refusal's reason, as in `doppelkopf_rejected_total`."""


@dataclass(frozen=True, slots=True)
class _SplitAd:
    """An ad as plain text, and the spans of its text that are left out in turn."""

    ad: Ad
    spans: list[Span]

    def variants(self) -> list[Ad]:
        """Return the ad without its title, if it has one, then without each span."""
        text = self.ad.text
        # A cut ends at the next span, so that no white space is left over.
        starts = [*(start for start, _ in self.spans), len(text)]
        without = [
            replace(self.ad, text=text[:start] + text[end:]) for start, end in pairwise(starts)
        ]
        return [*([replace(self.ad, title=None)] if self.ad.title else []), *without]


class Explainer:
    """Explains single ads: a few at once, each with a limited number of tokens."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._concurrency, self._tokens = settings.explain_concurrency, settings.explain_tokens
        self._max_variants = min(MAX_VARIANTS, settings.max_queued_ads)
        self._metrics = metrics
        self._running = 0

    async def explain(
        self, service: Service, ad: Ad, *, top_k: int, timeout_seconds: float | None = None
    ) -> tuple[Prediction, Explanation]:
        """Classify an ad, then compute the weight of its title and of each sentence.

        A sentence's weight for a head is p(label | ad) - p(label | ad without the sentence), where
        label is the predicted one: leave-one-out, called "erasure" in Li, Monroe and Jurafsky 2016,
        "Understanding Neural Networks through Representation Erasure". A weight is in [-1, 1];
        above 0 the sentence supports the label. Weights do not add up: if two sentences say the
        same, leaving out one of them changes little. The variants wait in the bulk lane.

        Raises:
            InvalidRequestError: explanations are switched off.
            OverloadedError: too many explanations are running, or too much work is waiting.
            ServiceError: the other errors of `Service.classify`.
        """
        with self._limited(service), service.in_use():
            async with deadline(timeout_seconds):
                (prediction,) = await service.classify([ad], lane=Lane.INTERACTIVE, top_k=top_k)
                current().enter(EXPLAIN)
                split = await self._split(service, ad, prediction.tokens)
                variants = split.variants()
                with detached():
                    # An ad without any word has no variants.
                    scores = await service.score_variants(variants, Lane.BULK) if variants else []
                current().leave()
        self._metrics.explanations.inc()
        self._metrics.explanation_variants.inc(len(variants))
        return prediction, _explanation(service, ad, split, prediction, scores)

    @contextmanager
    def _limited(self, service: Service) -> Iterator[None]:
        """Count a running explanation; refuse it if there are too many."""
        if not self._concurrency:
            raise InvalidRequestError("body.explain: this server does not explain; leave it out.")
        if self._running >= self._concurrency:
            self._metrics.rejected.labels(BUSY).inc()
            # The time of the largest explanation that is allowed.
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

    async def _split(self, service: Service, ad: Ad, tokens: int) -> _SplitAd:
        """Split an ad of `tokens` into sentences, joined until its variants fit the limits."""
        plain = await service.without_markup(ad)
        most = min(self._max_variants, self._tokens // tokens) - bool(plain.title)
        # In a thread: an ad may have a hundred thousand characters.
        spans = await asyncio.to_thread(lambda: merge_spans(sentences(plain.text), max(1, most)))
        return _SplitAd(plain, spans)


def _explanation(
    service: Service,
    ad: Ad,
    split: _SplitAd,
    prediction: Prediction,
    variant_scores: Sequence[Scores],
) -> Explanation:
    """Compute the weights from the variants' scores, with offsets into the text as it was sent."""
    columns = {
        head: list(service.model.heads[head].labels).index(top[0].label)
        for head, top in prediction.heads.items()
    }
    weights: list[Mapping[str, float]] = [
        {
            head: prediction.heads[head][0].probability - float(one.probabilities[head][column])
            for head, column in columns.items()
        }
        for one in variant_scores
    ]
    title = weights.pop(0) if split.ad.title else None
    # If it was not HTML, the text that was read is the one that was sent, stripped.
    text = split.ad.text
    offset = len(ad.text) - len(ad.text.lstrip())
    as_sent = ad.text.startswith(text, offset)
    return Explanation(
        text=None if as_sent else text,
        title_text=None if split.ad.title == (ad.title or "").strip() else split.ad.title,
        title=title,
        sentences=tuple(
            ExplainedSentence(start + offset * as_sent, end + offset * as_sent, weight)
            for (start, end), weight in zip(split.spans, weights, strict=True)
        ),
    )
