"""Logits to predictions: softmax with temperature, mean over an ad's windows, best labels."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from app.core.types import (
    EncodedAd,
    FloatArray,
    LabelProbability,
    Labels,
    ModelIdentity,
    Prediction,
    Scores,
)

WindowLogits = Mapping[str, FloatArray]
"""One ad's logits: by head, float32 of shape (windows, labels)."""


def probabilities(logits: FloatArray, temperature: float) -> FloatArray:
    """Return softmax(logits / temperature), averaged over the windows of one ad.

    Args:
        logits: float32 of shape (windows, labels).
        temperature: above 0; see Guo et al. 2017, "On Calibration of Modern Neural Networks".

    Returns:
        float32 of shape (labels,), summing to one.
    """
    mean: FloatArray = _softmax(logits, temperature).mean(axis=0).astype(np.float32)
    return mean


def scores(ads: Sequence[WindowLogits], temperatures: Mapping[str, float]) -> list[Scores | None]:
    """Return the `probabilities` of every ad of a batch, for all heads.

    Computed over the concatenated windows of the batch, so that a large batch takes no more array
    operations than a single ad.

    Args:
        ads: each ad's logits.
        temperatures: by head.

    Returns:
        One result an ad, in order; None for an ad with a NaN or infinite logit.
    """
    if not ads:
        return []
    finite = np.ones(len(ads), dtype=bool)
    heads: dict[str, FloatArray] = {}
    for head, temperature in temperatures.items():
        counts = np.array([len(ad[head]) for ad in ads])
        starts = np.cumsum(counts) - counts
        logits = np.concatenate([ad[head] for ad in ads])
        finite &= np.logical_and.reduceat(np.isfinite(logits).all(axis=1), starts)
        with np.errstate(invalid="ignore"):
            sums = np.add.reduceat(_softmax(logits, temperature), starts)
        heads[head] = (sums / counts[:, None]).astype(np.float32)
    return [
        Scores({head: values[index] for head, values in heads.items()}) if is_finite else None
        for index, is_finite in enumerate(finite)
    ]


def _softmax(logits: FloatArray, temperature: float) -> npt.NDArray[np.float64]:
    scaled = logits.astype(np.float64) / temperature
    # Minus the maximum, so that the exponential cannot overflow.
    exponentials = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    windows: npt.NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return windows


def prediction(
    model: ModelIdentity,
    encoded: EncodedAd,
    scored: Scores,
    labels: Mapping[str, Labels],
    top_k: int,
) -> Prediction:
    """Build the answer for one ad from its probabilities.

    Args:
        model: the checkpoint that computed them.
        encoded: the ad as it was read.
        scored: its probabilities.
        labels: by head, in logit order.
        top_k: labels to return for each head; a head with fewer returns all of them.
    """
    return Prediction(
        model=model,
        heads={
            head: top_labels(scored.probabilities[head], names, top_k)
            for head, names in labels.items()
        },
        tokens=encoded.tokens,
        windows=len(encoded.windows),
        truncated=encoded.truncated,
    )


def top_labels(values: FloatArray, labels: Labels, top_k: int) -> tuple[LabelProbability, ...]:
    """Return the `top_k` most probable labels, best first; ties keep the order of the labels."""
    order = np.argsort(-values, kind="stable")[:top_k]
    return tuple(LabelProbability(labels[index], float(values[index])) for index in order)
