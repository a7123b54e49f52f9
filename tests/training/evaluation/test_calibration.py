import numpy as np
import pytest

from app.core.head_labels import Head
from app.training.evaluation.calibration import (
    calibration_error,
    fit_temperature,
    fit_temperature_to_any,
    reliability_bins,
)
from app.training.evaluation.head_metrics import measure_head


def test_the_calibration_error_weights_bins_by_their_rows():
    values = np.array([[0.95, 0.05], [0.95, 0.05], [0.65, 0.35], [1.0, 0.0]], dtype=np.float32)
    targets = np.array([0, 1, 0, 0])
    bins = reliability_bins(values, targets)
    assert [count for count, _, _ in bins] == [0] * 6 + [1, 0, 0, 3]
    top_gap = abs((0.95 + 0.95 + 1.0) / 3 - 2 / 3)
    assert calibration_error(bins) == pytest.approx((3 * top_gap + 0.35) / 4, abs=1e-6)


def test_the_temperature_corrects_overconfidence():
    random = np.random.default_rng(0)
    calibrated = random.normal(size=(4000, 3)) * 2
    chances = np.exp(calibrated) / np.exp(calibrated).sum(axis=1, keepdims=True)
    targets = np.array([random.choice(3, p=row) for row in chances])
    logits = [3 * row[None].astype(np.float32) for row in calibrated]
    temperature = fit_temperature(logits, targets)
    assert temperature == pytest.approx(3, rel=0.1)
    head = Head(labels=("a", "b", "c"), temperature=temperature)
    metrics = measure_head(logits, targets, head).summary()
    assert metrics["ece_after"] < 0.03 < metrics["ece_before"]


def test_the_temperature_is_fitted_on_the_mean_over_windows():
    # One confident window is wrong and two are right: 2/3 at any low temperature.
    ads = [20 * np.eye(4, dtype=np.float32)[[1, 0, 0]]] * 3
    targets = np.array([0, 0, -100])
    temperature = fit_temperature(ads, targets)
    losses = {
        other: -np.log(measure_head(ads, targets, Head(labels=tuple("abcd"), temperature=other))
                       .after[:, 0]).mean()
        for other in (temperature, temperature * 0.9, temperature * 1.1)
    }  # fmt: skip
    assert min(losses, key=losses.get) == temperature


def test_without_labels_there_is_no_temperature():
    logits = [np.zeros((1, 4), np.float32)] * 2
    assert fit_temperature(logits, np.array([-100, -100])) is None


def test_any_accepted_label_counts_as_right():
    logits = [np.array([[4, 4, 0]], np.float32)] * 3
    assert fit_temperature_to_any(logits, np.array([[True, True, False]] * 3)) < 1
    assert fit_temperature_to_any(logits, np.array([[False, False, True]] * 3)) > 1
