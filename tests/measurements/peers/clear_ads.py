"""Ads with clear predictions, to check that a contender answers correctly."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from app.core.head_labels import HEADS
from app.core.types import Ad
from app.engine.engine import Engine
from app.model.checkpoint import Checkpoint

CLEAR = 0.1
"""The least difference of a head's two best probabilities; rounding may swap closer labels."""


def clear_ads(
    checkpoint: Checkpoint, ads: Sequence[Ad], count: int, lead: float = CLEAR
) -> list[tuple[Ad, dict[str, str]]]:
    """Return the first ads that fit one window and have clear labels, with the labels by head."""
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
