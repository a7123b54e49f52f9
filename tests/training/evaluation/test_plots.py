import numpy as np
import pytest

from app.core.head_labels import Head
from app.training.evaluation.head_metrics import measure_head
from app.training.evaluation.plots import MAX_NUMBERED_LABELS, confusion_png, reliability_png

PNG = b"\x89PNG\r\n\x1a\n"


def metrics(labels):
    random = np.random.default_rng(0)
    targets = random.integers(0, len(labels), 40)
    logits = [random.normal(size=(1, len(labels))).astype(np.float32) for _ in targets]
    return measure_head(logits, targets, Head(labels=labels, temperature=2.0))


@pytest.mark.parametrize("draw", [confusion_png, reliability_png])
def test_labels_like_formulas_or_without_glyphs_are_drawn(draw):
    assert draw(metrics(("$x_{$", "看護", "a & b")), "Title").startswith(PNG)


def test_a_matrix_of_many_labels_is_drawn():
    labels = tuple(f"label {number}" for number in range(MAX_NUMBERED_LABELS + 1))
    assert confusion_png(metrics(labels), "Many").startswith(PNG)
