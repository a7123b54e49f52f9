import numpy as np
import pytest

from app.core.head_labels import Head
from app.training.evaluation.head_metrics import (
    calibration_error,
    fit_temperature,
    measure_head,
    reliability,
)

LEVELS = Head(labels=("none", "vocational", "advanced", "master"), ordered=True)


def sure(*labels, width=4):
    """Logits of one window an ad that are all but certain of a label."""
    return [20 * np.eye(width, dtype=np.float32)[[label]] for label in labels]


def test_the_scores_are_those_counted_by_hand():
    targets = np.array([0, 1, 2, 3, -100])
    summary = measure_head(sure(0, 1, 0, 0, 2), targets, LEVELS).summary()
    assert summary["rows"] == 4
    assert summary["accuracy"] == 0.5
    assert summary["mean_level_error"] == (0 + 0 + 2 + 3) / 4
    # F1: none 2*(1/3)*1/(1/3+1) = 0.5, vocational 1, the others 0.
    assert summary["macro_f1"] == pytest.approx(1.5 / 4)
    assert summary["ece_before"] == pytest.approx(0.5, abs=1e-6)
    assert summary["temperature"] == 1.0


def test_only_an_ordered_head_has_a_level_error():
    head = Head(labels=("a", "b"))
    assert "mean_level_error" not in measure_head(sure(0, width=2), np.array([0]), head).summary()


def test_top_three_asks_whether_the_label_is_among_the_best_three():
    logits = [np.array([[4, 3, 2, 1]], dtype=np.float32)] * 4
    assert measure_head(logits, np.array([0, 1, 2, 3]), LEVELS).summary()["top_3"] == 0.75


def test_each_class_has_its_row_and_the_matrix_its_counts():
    quality = measure_head(sure(0, 0, 3), np.array([0, 1, 3]), LEVELS)
    rows = quality.per_class()
    assert [row["support"] for row in rows] == [1, 1, 0, 1]
    assert rows[0]["precision"] == 0.5
    assert rows[0]["recall"] == 1.0
    assert quality.confusion().tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0] * 4, [0, 0, 0, 1]]


def test_a_head_without_any_label_has_no_scores():
    quality = measure_head(sure(0), np.array([-100]), LEVELS)
    assert quality.summary() == {"rows": 0, "temperature": 1.0}
    assert [row["support"] for row in quality.per_class()] == [0] * 4
    assert quality.confusion().sum() == 0


def test_the_calibration_error_weighs_each_bin_by_its_rows():
    values = np.array([[0.95, 0.05], [0.95, 0.05], [0.65, 0.35], [1.0, 0.0]], dtype=np.float32)
    targets = np.array([0, 1, 0, 0])
    bins = reliability(values, targets)
    assert [count for count, _, _ in bins] == [0] * 6 + [1, 0, 0, 3]
    top = abs((0.95 + 0.95 + 1.0) / 3 - 2 / 3)
    assert calibration_error(values, targets) == pytest.approx((3 * top + 0.35) / 4, abs=1e-6)


def test_the_temperature_undoes_overconfidence():
    random = np.random.default_rng(0)
    honest = random.normal(size=(4000, 3)) * 2
    chances = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    targets = np.array([random.choice(3, p=row) for row in chances])
    logits = [3 * row[None].astype(np.float32) for row in honest]
    temperature = fit_temperature(logits, targets)
    assert temperature == pytest.approx(3, rel=0.1)
    head = Head(labels=("a", "b", "c"), temperature=temperature)
    quality = measure_head(logits, targets, head).summary()
    assert quality["ece_after"] < 0.03 < quality["ece_before"]


def test_the_temperature_is_fitted_on_the_mean_over_windows():
    # One window is sure and wrong, two are sure and right: 2/3 at any low temperature.
    wrong, right = sure(1, 0)
    ads = [np.concatenate([wrong, right, right])] * 3
    targets = np.array([0, 0, -100])
    temperature = fit_temperature(ads, targets)
    losses = {
        other: -np.log(measure_head(ads, targets, LEVELS.model_copy(update={"temperature": other}))
                       .after[:, 0]).mean()
        for other in (temperature, temperature * 0.9, temperature * 1.1)
    }  # fmt: skip
    assert min(losses, key=losses.get) == temperature


def test_no_label_means_no_temperature():
    assert fit_temperature(sure(0, 1), np.array([-100, -100])) is None
