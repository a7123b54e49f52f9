import numpy as np
import pytest

from app.core.postprocessing import prediction, probabilities, scores, top_labels
from app.core.types import EncodedAd, LabelProbability, ModelIdentity, Scores


def softmax(values: list[float]) -> np.ndarray:
    exponentials = np.exp(np.array(values))
    return exponentials / exponentials.sum()


def logits(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_one_window_gives_its_softmax():
    found = probabilities(logits([1.0, 2.0, -1.0]), 1.0)
    np.testing.assert_allclose(found, softmax([1.0, 2.0, -1.0]), atol=1e-6)
    assert found.dtype == np.float32


def test_windows_are_averaged_after_the_softmax():
    found = probabilities(logits([5.0, 0.0], [0.0, 1.0]), 1.0)
    after = (softmax([5.0, 0.0]) + softmax([0.0, 1.0])) / 2
    before = softmax([2.5, 0.5])
    np.testing.assert_allclose(found, after, atol=1e-6)
    assert abs(found - before).max() > 0.05


def test_temperature_divides_the_logits():
    np.testing.assert_allclose(
        probabilities(logits([4.0, 2.0]), 2.0), softmax([2.0, 1.0]), atol=1e-6
    )


def test_temperature_never_changes_the_best_label():
    raw = logits([0.3, 0.9, -2.0])
    assert {int(probabilities(raw, t).argmax()) for t in (0.05, 0.5, 1, 7, 100)} == {1}


@pytest.mark.parametrize("size", [1e4, 3e38])
def test_huge_logits_neither_overflow_nor_warn(size):
    np.testing.assert_array_equal(probabilities(logits([size, -size]), 0.05), [1.0, 0.0])


def test_probabilities_sum_to_one_over_many_labels_and_windows():
    random = np.random.default_rng(0)
    for windows, labels in [(1, 2), (4, 40), (7, 1000)]:
        raw = random.normal(0, 8, (windows, labels)).astype(np.float32)
        assert probabilities(raw, 0.7).sum() == pytest.approx(1, abs=1e-5)


def test_scores_use_the_temperature_of_each_head():
    raw = {"x": logits([2.0, 0.0]), "y": logits([2.0, 0.0])}
    (found,) = scores([raw], {"x": 1.0, "y": 2.0})
    np.testing.assert_allclose(found.probabilities["x"], softmax([2.0, 0.0]), atol=1e-6)
    np.testing.assert_allclose(found.probabilities["y"], softmax([1.0, 0.0]), atol=1e-6)


def test_scores_of_a_batch_equal_those_of_single_ads():
    random = np.random.default_rng(0)
    ads = [
        {"x": random.normal(0, 4, (windows, 7)).astype(np.float32)} for windows in (1, 4, 1, 2, 9)
    ]
    for ad, found in zip(ads, scores(ads, {"x": 1.5}), strict=True):
        assert found.probabilities["x"].dtype == np.float32
        np.testing.assert_allclose(found.probabilities["x"], probabilities(ad["x"], 1.5), atol=1e-7)
    assert scores([], {"x": 1.0}) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_logits_give_none_for_their_ad_only(value):
    good, bad = logits([1.0, 2.0]), logits([1.0, 2.0], [value, 0.0])
    found = scores([{"x": good}, {"x": bad}, {"x": good}], {"x": 1.0})
    assert found[1] is None
    for one in (found[0], found[2]):
        np.testing.assert_allclose(one.probabilities["x"], softmax([1.0, 2.0]), atol=1e-6)


def test_best_sorts_by_probability_and_ties_by_label_order():
    values = np.array([0.2, 0.3, 0.2, 0.3], dtype=np.float32)
    assert [one.label for one in top_labels(values, ("a", "b", "c", "d"), 4)] == [
        "b",
        "d",
        "a",
        "c",
    ]


def test_best_is_stable_for_hundreds_of_ties():
    labels = tuple(map(str, range(300)))
    values = np.tile(np.array([0.001, 0.005], dtype=np.float32), 150)
    assert [one.label for one in top_labels(values, labels, 300)] == [*labels[1::2], *labels[::2]]


def test_best_returns_all_labels_of_a_small_head():
    values = np.array([0.25, 0.75], dtype=np.float32)
    assert top_labels(values, ("a", "b"), 99) == (
        LabelProbability("b", 0.75),
        LabelProbability("a", 0.25),
    )
    assert top_labels(values, ("a", "b"), 1) == (LabelProbability("b", 0.75),)


def test_prediction_has_labels_tokens_and_windows():
    encoded = EncodedAd(
        (np.zeros(5, dtype=np.int32), np.zeros(3, dtype=np.int32)),
        truncated=True,
    )
    scored = Scores({"x": np.array([0.25, 0.75], dtype=np.float32)})
    model = ModelIdentity("m", "1")
    found = prediction(model, encoded, scored, {"x": ("a", "b")}, top_k=1)
    assert found.model == model
    assert found.heads == {"x": (LabelProbability("b", 0.75),)}
    assert (found.tokens, found.windows, found.truncated) == (8, 2, True)
