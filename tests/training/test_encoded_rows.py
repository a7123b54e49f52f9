import numpy as np
import pytest

from app.core.errors import SettingsError
from app.core.head_labels import IGNORE_INDEX, Head
from app.model.base_encoder import open_base_encoder
from app.training.encoded_rows import class_weights, read_training_rows
from app.training.options import TrainOptions
from tests.support.ad_files import LABELLED_ADS, write_ads


@pytest.fixture
def read(tmp_path, tiny_base):
    def read(rows, **changes):
        data = write_ads(tmp_path / "ads.csv", rows)
        options = TrainOptions(data, str(tiny_base), tmp_path / "out", **changes)
        return read_training_rows(options, open_base_encoder(str(tiny_base)).tokenizer(64))

    return read


def test_rows_without_labels_are_counted_and_left_out(read):
    blank = {**LABELLED_ADS[0], "job_category": "", "min_education": ""}
    rows = read([*LABELLED_ADS, blank], validation_share=0.0)
    assert (rows.unlabelled, rows.validation) == (1, None)
    assert rows.counts()["train"]["rows"] == len(LABELLED_ADS)
    assert rows.counts()["train"]["windows"] == len(LABELLED_ADS)


def test_a_share_of_the_rows_is_held_out(read):
    counts = read(LABELLED_ADS * 4, validation_share=0.25).counts()
    assert counts["train"]["rows"] + counts["validation"]["rows"] == 4 * len(LABELLED_ADS)
    assert counts["validation"]["rows"] == len(LABELLED_ADS)


def test_a_distance_weight_needs_an_ordered_head(read):
    with pytest.raises(SettingsError, match="--distance-weight"):
        read(LABELLED_ADS, distance_weight=1.0)


def test_class_weights_are_inverse_to_the_rows_of_a_class():
    head = Head(labels=("a", "b", "unseen"))
    targets = np.array([0, 0, 0, 1, IGNORE_INDEX])
    (weights,) = class_weights({"head": targets}, {"head": head}).values()
    assert weights.tolist() == pytest.approx([4 / (2 * 3), 4 / (2 * 1), 1])
