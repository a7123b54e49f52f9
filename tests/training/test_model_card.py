import pytest

from app.core.head_labels import HEADS
from app.training.model_card import model_card
from app.training.options import TrainOptions
from tests.conftest import tiny_model

COUNTS = {"rows": 3, "windows": 4, "truncated": 0, "job_category": 3, "min_education": 2}
METRICS = {"rows": {"train": COUNTS, "unlabelled": 1}, "device": "cpu, 1 thread"}


@pytest.fixture
def options(tmp_path):
    data = tmp_path / "ads.csv"
    data.write_text("text\n")
    return TrainOptions(data, "base", tmp_path / "v1")


def test_the_card_counts_the_rows(options):
    card = model_card(options, 64, tiny_model(), METRICS)
    assert "3 trained on in 4 windows (3 with job_category, 2 with min_education)" in card
    assert "1 left out without a label" in card


def test_the_card_of_a_training_without_validation_says_so(options):
    assert "Nothing was measured" in model_card(options, 64, tiny_model(), METRICS)


def test_the_card_has_a_table_of_metrics(options):
    metrics = METRICS | {head: {"rows": 3, "accuracy": 0.5} for head in HEADS}
    card = model_card(options, 64, tiny_model(), metrics)
    assert "| accuracy | 0.5 | 0.5 |" in card
    assert "top-3" not in card


@pytest.mark.parametrize(
    ("command", "text"), [("train it", "trained with\n\n```sh\ntrain it\n"), (None, "r1.\n")]
)
def test_the_card_names_the_teacher(options, command, text):
    teacher = {"layers": 12, "revision": "r1", "command": command}
    card = model_card(options, 64, tiny_model(), METRICS | {"teacher": teacher})
    assert "Its teacher has 12 layers and the revision r1" in card
    assert text in card
