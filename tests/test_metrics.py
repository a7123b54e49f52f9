from pathlib import Path

from app.metrics import Metrics
from app.records import LabelProbability, Prediction


def prediction(truncated=False):
    return Prediction(
        heads={
            "job_category": (LabelProbability("a", 0.8), LabelProbability("b", 0.2)),
            "min_education": (LabelProbability("x", 0.6),),
        },
        tokens=3,
        windows=1,
        truncated=truncated,
    )


def test_a_prediction_counts_its_best_labels_and_their_probability():
    metrics = Metrics()
    metrics.record_prediction(prediction())
    metrics.record_prediction(prediction(truncated=True))
    value = metrics.registry.get_sample_value
    assert value("doppelkopf_predictions_total", {"head": "job_category", "label": "a"}) == 2
    assert value("doppelkopf_predictions_total", {"head": "job_category", "label": "b"}) is None
    assert value("doppelkopf_confidence_sum", {"head": "min_education"}) == 1.2
    assert value("doppelkopf_truncated_total") == 1


def test_two_services_do_not_share_metrics():
    first, second = Metrics(), Metrics()
    first.truncated.inc()
    assert second.registry.get_sample_value("doppelkopf_truncated_total") == 0


def test_every_metric_is_documented():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    for family in Metrics().registry.collect():
        assert f"`{family.name}" in readme, f"the README does not mention {family.name}"
