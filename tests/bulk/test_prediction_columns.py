from app.bulk.prediction_columns import COLUMN_NAMES, columns_of_error, columns_of_labels
from app.core.types import LabelProbability


def test_every_row_has_all_columns_in_order():
    labels = {
        "min_education": LabelProbability("none", 1.0),
        "job_category": LabelProbability("cooking", 2 / 3),
    }
    expected = ["cooking", 0.666667, "none", 1.0, None]
    assert columns_of_labels(labels) == dict(zip(COLUMN_NAMES, expected, strict=True))
    expected = [None, None, None, None, "The text is empty."]
    assert columns_of_error("The text is empty.") == dict(zip(COLUMN_NAMES, expected, strict=True))
