"""From logits to answers: softmax with temperature, windows averaged, the best labels picked."""

from collections.abc import Mapping

import numpy as np

from app.records import Encoded, FloatArray, LabelProbability, Labels, Prediction, Scores

WindowLogits = Mapping[str, FloatArray]
"""One ad's raw logits: by head, float32 of shape (windows, labels)."""


def probabilities(logits: FloatArray, temperature: float) -> FloatArray:
    """Average the windows' softmax(logits / temperature).

    Args:
        logits: float32 of shape (windows, labels).
        temperature: above 0; Guo et al. 2017, "On Calibration of Modern Neural Networks".

    Returns:
        float32 of shape (labels,), summing to one.
    """
    scaled = logits.astype(np.float64) / temperature
    # Shifted by the maximum, so that no logit overflows the exponential.
    exponentials = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    windows = exponentials / exponentials.sum(axis=-1, keepdims=True)
    mean: FloatArray = windows.mean(axis=0).astype(np.float32)
    return mean


def scores(logits: WindowLogits, temperatures: Mapping[str, float]) -> Scores:
    """Turn one ad's window logits into its probabilities, head by head."""
    return Scores({head: probabilities(raw, temperatures[head]) for head, raw in logits.items()})


def prediction(
    encoded: Encoded, scored: Scores, labels: Mapping[str, Labels], top_k: int
) -> Prediction:
    """Name the `top_k` most probable labels of each head (all of them where it has fewer)."""
    return Prediction(
        heads={
            head: best(scored.probabilities[head], names, top_k) for head, names in labels.items()
        },
        tokens=encoded.tokens,
        windows=len(encoded.windows),
        truncated=encoded.truncated,
    )


def best(values: FloatArray, labels: Labels, top_k: int) -> tuple[LabelProbability, ...]:
    """Return the `top_k` labels by probability, best first; ties keep the labels' order."""
    order = np.argsort(-values, kind="stable")[:top_k]
    return tuple(LabelProbability(labels[index], float(values[index])) for index in order)
