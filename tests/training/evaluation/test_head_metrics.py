import numpy as np
import pytest

from app.core.head_labels import Head
from app.training.evaluation.head_metrics import measure_head

LEVELS = Head(labels=("none", "vocational", "advanced", "master"), ordered=True)


def confident(*labels, width=4):
    """Logits of one window per ad, each almost certain of its label."""
    return [20 * np.eye(width, dtype=np.float32)[[label]] for label in labels]


def test_metrics_match_a_count_by_hand():
    targets = np.array([0, 1, 2, 3, -100])
    summary = measure_head(confident(0, 1, 0, 0, 2), targets, LEVELS).summary()
    assert summary["rows"] == 4
    assert summary["accuracy"] == 0.5
    assert summary["mean_level_error"] == (0 + 0 + 2 + 3) / 4
    # F1: none 2*(1/3)*1/(1/3+1) = 0.5, vocational 1, the others 0.
    assert summary["macro_f1"] == pytest.approx(1.5 / 4)
    assert summary["ece_before"] == pytest.approx(0.5, abs=1e-6)
    assert summary["temperature"] == 1.0


def test_only_an_ordered_head_has_a_level_error():
    head = Head(labels=("a", "b"))
    assert (
        "mean_level_error" not in measure_head(confident(0, width=2), np.array([0]), head).summary()
    )


def test_top_3_counts_labels_among_the_best_three():
    logits = [np.array([[4, 3, 2, 1]], dtype=np.float32)] * 4
    assert measure_head(logits, np.array([0, 1, 2, 3]), LEVELS).summary()["top_3"] == 0.75


def test_per_class_metrics_and_confusion_matrix():
    metrics = measure_head(confident(0, 0, 3), np.array([0, 1, 3]), LEVELS)
    rows = metrics.per_class()
    assert [row["support"] for row in rows] == [1, 1, 0, 1]
    assert rows[0]["precision"] == 0.5
    assert rows[0]["recall"] == 1.0
    assert metrics.confusion().tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0] * 4, [0, 0, 0, 1]]


def test_a_head_without_labels_has_no_metrics():
    metrics = measure_head(confident(0), np.array([-100]), LEVELS)
    assert metrics.summary() == {"rows": 0, "temperature": 1.0}
    assert [row["support"] for row in metrics.per_class()] == [0] * 4
    assert metrics.confusion().sum() == 0
