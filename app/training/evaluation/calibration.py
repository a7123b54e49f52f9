"""Calibration of a head: confidence bins, calibration error, and fitting the temperature.

The method and the error are those of Guo et al. 2017, "On Calibration of Modern Neural Networks".
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from app.core.head_labels import IGNORE_INDEX
from app.core.types import FloatArray
from app.data.labelled_ads import Targets

Mask = npt.NDArray[np.bool_]

Bins = list[tuple[int, float, float]]
"""By confidence bin: number of rows, mean confidence, accuracy; both 0 if the bin is empty."""

BINS = 10
TEMPERATURE_BOUNDS = (0.1, 10.0)
"""Range of the search; without bounds, few and easy rows would give a temperature near 0."""


def reliability_bins(probability: FloatArray, targets: Targets) -> Bins:
    """Sort rows into ten equal bins by the confidence of their prediction.

    Args:
        probability: float32 of shape (rows, labels).
        targets: int64 of shape (rows,).
    """
    return confidence_bins(probability.max(axis=1), probability.argmax(axis=1) == targets)


def confidence_bins(confidence: FloatArray, correct: Mask) -> Bins:
    """Sort rows into ten equal bins by confidence.

    Args:
        confidence: float32 of shape (rows,), from 0 to 1.
        correct: of shape (rows,), whether the prediction is right.
    """
    # In double precision: float32 can round a confidence at the edge of a bin into the next one.
    bins = np.minimum((confidence.astype(np.float64) * BINS).astype(int), BINS - 1)
    return [
        (len(inside), float(confidence[inside].mean()), float(correct[inside].mean()))
        if len(inside := np.flatnonzero(bins == number))
        else (0, 0.0, 0.0)
        for number in range(BINS)
    ]


def calibration_error(bins: Bins) -> float:
    """Return the expected calibration error, equation 3 of Guo et al. 2017.

    It is the mean gap between confidence and accuracy, each bin weighted by its rows.
    """
    gaps = sum(count * abs(confidence - accuracy) for count, confidence, accuracy in bins)
    return gaps / sum(count for count, _, _ in bins)


def fit_temperature(logits: Sequence[FloatArray], targets: Targets) -> float | None:
    """Find the temperature at which the true labels are most probable.

    Args:
        logits: for each ad, float32 of shape (windows, labels).
        targets: int64 of shape (ads,), `IGNORE_INDEX` for an ad without a label.

    Returns:
        The temperature, or None if no ad has a label.
    """
    kept = np.flatnonzero(targets != IGNORE_INDEX).tolist()
    if not kept:
        return None
    labelled = [logits[index] for index in kept]
    return fit_temperature_to_any(labelled, np.eye(labelled[0].shape[1], dtype=bool)[targets[kept]])


def fit_temperature_to_any(logits: Sequence[FloatArray], accepted: Mask) -> float:
    """Find the temperature for ads that each have one or more right labels.

    Minimises the mean over ads of -log(mean over windows of the summed softmax(logits / T) of the
    right labels). This is the temperature scaling of Guo et al. 2017, with the windows averaged as
    in predictions.

    Args:
        logits: for each ad, float32 of shape (windows, labels); at least one ad.
        accepted: of shape (ads, labels), true for right labels.
    """
    counts = np.array([len(windows) for windows in logits])
    rows = np.concatenate(list(logits)).astype(np.float64)
    right = np.repeat(accepted, counts, axis=0)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])

    def loss(log_temperature: float) -> float:
        scaled = rows / np.exp(log_temperature)
        exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        windows = (exponentials * right).sum(axis=1) / exponentials.sum(axis=1)
        ads = np.add.reduceat(windows, starts) / counts
        return float(-np.log(np.maximum(ads, 1e-12)).mean())

    # In log space halving and doubling are steps of the same size.
    bounds = tuple(np.log(TEMPERATURE_BOUNDS))
    found = minimize_scalar(loss, bounds=bounds, method="bounded")
    return round(float(np.exp(found.x)), 4)
