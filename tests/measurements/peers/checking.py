"""Ads whose answers are beyond doubt, so that nobody wins by answering wrong."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from app.core.head_labels import HEADS
from app.core.types import Ad
from app.engine.engine import Engine
from app.model.checkpoint import Checkpoint

CLEAR = 0.1
"""By how much a head's best label leads: rounding swaps the labels of closer ones."""


def clear_ads(
    checkpoint: Checkpoint, ads: Sequence[Ad], count: int, lead: float = CLEAR
) -> list[tuple[Ad, dict[str, str]]]:
    """Return the first ads that fit a window and have a clear label of each head, with both."""
    return list(islice(_clear(checkpoint, ads, lead), count))


def _clear(
    checkpoint: Checkpoint, ads: Sequence[Ad], lead: float
) -> Iterator[tuple[Ad, dict[str, str]]]:
    tokenizer, engine = checkpoint.tokenizer(), Engine(checkpoint, "cpu")
    for ad in ads:
        [encoded] = tokenizer.encode([ad])
        if len(encoded.windows) > 1 or encoded.truncated:
            continue
        [scores] = engine.run([encoded])
        found = {}
        for head in HEADS:
            values = scores.probabilities[head]
            second, first = np.argsort(values)[-2:]
            if values[first] - values[second] >= lead:
                found[head] = checkpoint.heads[head].labels[first]
        if len(found) == len(HEADS):
            yield ad, found
