import numpy as np

from app.core.head_labels import HEADS
from app.model.checkpoint import open_checkpoint
from app.training.demo.benchmark import calibrate
from app.training.demo.comparison_tables import KEY
from app.training.demo.hand_labelled import Contender, read_hand_labelled


def test_all_contenders_are_measured_by_source_and_country(made):
    comparison = open_checkpoint(made.out).metrics[KEY]
    assert list(comparison["contenders"]) == [
        "majority class",
        "key-word rules",
        "TF-IDF, logistic regression",
        "nearest title",
        "checkpoint",
    ]
    own = comparison["contenders"]["checkpoint"]
    assert own["all"]["ads"] == 5
    assert {name: group["ads"] for name, group in own["sources"].items()} == {"acme": 3, "beta": 2}
    assert set(own["countries"]) == {"CH", "DE"}
    assert set(own["all"]["min_education"]) == {"top_1", "top_3", "ece", "levels_off", "far_off"}
    assert comparison["same_rows"] is True
    assert set(comparison["ece_apart"]) == set(HEADS)


def test_calibration_keeps_the_order_and_ruled_out_labels(made):
    ads = read_hand_labelled(made.shared, open_checkpoint(made.out).heads)
    values = np.array([[0.9, 0.1, 0, 0]] * 5, np.float32)
    found = calibrate(Contender("one", {"min_education": values}, "Note."), ads)
    answers = found.scores["min_education"]
    assert (answers[:, 0] > answers[:, 1]).all()
    # Before, the predictions are overconfident.
    assert answers[0, 0] < 0.8
    assert (answers[:, 2:] == 0).all()
    assert found.note.startswith("Note. Its temperatures")
