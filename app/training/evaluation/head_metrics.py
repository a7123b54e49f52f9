"""The metrics of one head: accuracy, F1, confusion matrix, calibration error."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    precision_recall_fscore_support,
)

from app.core.head_labels import IGNORE_INDEX, Head
from app.core.postprocessing import probabilities
from app.core.types import FloatArray
from app.data.labelled_ads import Targets
from app.training.evaluation.calibration import calibration_error, reliability_bins

TOP = 3
"""A row counts in the top-3 accuracy if its label is among this many most probable ones."""


@dataclass(frozen=True)
class HeadMetrics:
    """A head's targets and probabilities, for the rows that have a label; computes the metrics."""

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
        """Return the metrics for JSON; only rows and temperature if no row has a label.

        Macro F1 is the mean over the labels that occur as true or predicted ones.
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
        scores["ece_before"] = calibration_error(reliability_bins(self.before, self.targets))
        scores["ece_after"] = calibration_error(reliability_bins(self.after, self.targets))
        return {
            **{name: round(float(score), 6) for name, score in scores.items()},
            "rows": len(self.targets),
            "temperature": self.head.temperature,
        }

    def per_class(self) -> list[dict[str, Any]]:
        """Return precision, recall, F1 and support of each label, in the order of the labels."""
        width = len(self.head.labels)
        # scikit-learn raises an error if there are no rows.
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
        """Return counts of shape (labels, labels): rows are true labels, columns predicted ones."""
        width = len(self.head.labels)
        matrix = np.zeros((width, width), dtype=np.int64)
        np.add.at(matrix, (self.targets, self.predicted), 1)
        return matrix


def measure_head(logits: Sequence[FloatArray], targets: Targets, head: Head) -> HeadMetrics:
    """Compare the predictions of one head with the targets.

    Args:
        logits: for each ad, float32 of shape (windows, labels).
        targets: int64 of shape (ads,); ads with `IGNORE_INDEX` have no label and are left out.
        head: its labels, and the temperature of `HeadMetrics.after`.
    """
    kept = np.flatnonzero(targets != IGNORE_INDEX).tolist()
    shape = (len(kept), len(head.labels))
    before, after = (
        np.array([probabilities(logits[index], temperature) for index in kept], np.float32)
        for temperature in (1.0, head.temperature)
    )
    return HeadMetrics(head, targets[kept], before.reshape(shape), after.reshape(shape))
