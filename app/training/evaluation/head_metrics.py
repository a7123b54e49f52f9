"""How good a head is: scores, calibration, and the temperature that calibrates it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    precision_recall_fscore_support,
)

from app.core.head_labels import IGNORED, Head
from app.core.postprocessing import probabilities
from app.core.types import FloatArray
from app.data.labelled_ads import Targets

Mask = npt.NDArray[np.bool_]

BINS = 10
TOP = 3
TEMPERATURES = (0.1, 10.0)
"""Where a temperature is looked for; a few easy rows would drive it to an end without sense."""


@dataclass(frozen=True)
class HeadMetrics:
    """What was measured of one head on the rows that have a label for it."""

    head: Head
    targets: Targets
    """int64 of shape (rows,)."""
    before: FloatArray
    """Probabilities at temperature 1, float32 of shape (rows, labels)."""
    after: FloatArray
    """Probabilities at the head's temperature, shape as `before`."""

    @property
    def predicted(self) -> Targets:
        """The most probable label of each row, int64 of shape (rows,)."""
        best: Targets = self.after.argmax(axis=1)
        return best

    def summary(self) -> dict[str, Any]:
        """Return the scores as JSON can hold them; no scores where no row has a label.

        Macro F1 is the mean over the labels that occur, true or predicted.
        """
        if not len(self.targets):
            return {"rows": 0, "temperature": self.head.temperature}
        best = np.argsort(-self.after, axis=1, kind="stable")[:, :TOP]
        scores = {
            "rows": len(self.targets),
            "accuracy": accuracy_score(self.targets, self.predicted),
            "macro_f1": f1_score(self.targets, self.predicted, average="macro", zero_division=0),
            f"top_{TOP}": (best == self.targets[:, None]).any(axis=1).mean(),
        }
        if self.head.ordered:
            scores["mean_level_error"] = np.abs(self.targets - self.predicted).mean()
        scores["ece_before"] = calibration_error(self.before, self.targets)
        scores["ece_after"] = calibration_error(self.after, self.targets)
        return {
            **{name: round(float(score), 6) for name, score in scores.items()},
            "rows": len(self.targets),
            "temperature": self.head.temperature,
        }

    def per_class(self) -> list[dict[str, Any]]:
        """Return each label's precision, recall, F1 and support, in the order of the labels."""
        width = len(self.head.labels)
        # The library scores no empty columns.
        columns = np.zeros((4, width))
        if len(self.targets):
            columns = precision_recall_fscore_support(
                self.targets, self.predicted, labels=range(width), zero_division=0
            )
        return [
            {
                "label": label,
                "precision": round(float(precision), 6),
                "recall": round(float(recall), 6),
                "f1": round(float(f1), 6),
                "support": int(support),
            }
            for label, precision, recall, f1, support in zip(
                self.head.labels, *columns, strict=True
            )
        ]

    def confusion(self) -> npt.NDArray[np.int64]:
        """Return the counts of shape (labels, labels): rows are true, columns predicted."""
        width = len(self.head.labels)
        matrix = np.zeros((width, width), dtype=np.int64)
        np.add.at(matrix, (self.targets, self.predicted), 1)
        return matrix


def measure_head(logits: Sequence[FloatArray], targets: Targets, head: Head) -> HeadMetrics:
    """Compare one head's answers with the targets.

    Args:
        logits: by ad, float32 of shape (windows, labels).
        targets: int64 of shape (ads,), `IGNORED` where an ad has no label; such are left out.
        head: its temperature is the one of `HeadMetrics.after`.
    """
    kept = np.flatnonzero(targets != IGNORED).tolist()
    shape = (len(kept), len(head.labels))
    before, after = (
        np.array([probabilities(logits[index], temperature) for index in kept], np.float32)
        for temperature in (1.0, head.temperature)
    )
    return HeadMetrics(head, targets[kept], before.reshape(shape), after.reshape(shape))


def reliability(probability: FloatArray, targets: Targets) -> list[tuple[int, float, float]]:
    """Sort rows by confidence into ten equal bins.

    Args:
        probability: float32 of shape (rows, labels).
        targets: int64 of shape (rows,).

    Returns:
        By bin, how many rows it holds, their mean confidence and their accuracy (0 if empty).
    """
    return binned(probability.max(axis=1), probability.argmax(axis=1) == targets)


def binned(confidence: FloatArray, correct: Mask) -> list[tuple[int, float, float]]:
    """Return the bins of `reliability` for rows whose answers are judged already."""
    # In double precision: at a bin's edge float32 may round a confidence into the next.
    bins = np.minimum((confidence.astype(np.float64) * BINS).astype(int), BINS - 1)
    return [
        (len(inside), float(confidence[inside].mean()), float(correct[inside].mean()))
        if len(inside := np.flatnonzero(bins == number))
        else (0, 0.0, 0.0)
        for number in range(BINS)
    ]


def calibration_error(probability: FloatArray, targets: Targets) -> float:
    """Return the expected calibration error over ten equal bins.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    return bin_error(reliability(probability, targets))


def bin_error(bins: Sequence[tuple[int, float, float]]) -> float:
    """Return the mean gap between confidence and accuracy, each bin weighed by its rows."""
    gaps = sum(count * abs(confidence - accuracy) for count, confidence, accuracy in bins)
    return gaps / sum(count for count, _, _ in bins)


def fit_temperature(logits: Sequence[FloatArray], targets: Targets) -> float | None:
    """Find the temperature that makes the true labels most probable.

    Args:
        logits: by ad, float32 of shape (windows, labels).
        targets: int64 of shape (ads,), `IGNORED` where an ad has no label.

    Returns:
        The temperature, or None where no ad has a label.
    """
    kept = np.flatnonzero(targets != IGNORED).tolist()
    if not kept:
        return None
    labelled = [logits[index] for index in kept]
    return fit_accepted(labelled, np.eye(labelled[0].shape[1], dtype=bool)[targets[kept]])


def fit_accepted(logits: Sequence[FloatArray], accepted: Mask) -> float:
    """Find the temperature that makes any of each ad's accepted labels most probable.

    Minimises the mean over ads of -log(mean over windows of the accepted labels' summed
    softmax(logits / T)): the temperature scaling of Guo et al. 2017, with windows averaged as in
    answers.

    Args:
        logits: by ad, float32 of shape (windows, labels); at least one ad.
        accepted: of shape (ads, labels), true where a label counts as right.
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

    # In log space, so that halving and doubling are steps of one size.
    bounds = tuple(np.log(TEMPERATURES))
    found = minimize_scalar(loss, bounds=bounds, method="bounded")
    return round(float(np.exp(found.x)), 4)
