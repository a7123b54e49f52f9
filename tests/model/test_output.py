import numpy as np
import pytest
import torch

from app.core.head_labels import IGNORE_INDEX
from app.model.output import TwoHeadOutput, two_head_loss

JOB = [[2.0, 0.0, -1.0], [0.5, 0.5, 3.0], [1.0, -2.0, 0.0]]
LEVEL = [[0.0, 1.0], [4.0, 0.0], [-1.0, 1.0]]


def output_of(**rows) -> TwoHeadOutput:
    return TwoHeadOutput(**{f"{head}_logits": torch.tensor(value) for head, value in rows.items()})


def cross_entropy(row: list[float], target: int) -> float:
    """Compute -log softmax by hand."""
    return float(np.log(np.exp(np.array(row)).sum()) - row[target])


def test_the_loss_is_the_sum_of_the_heads_means():
    targets = {"job_category": torch.tensor([0, 2, 1]), "min_education": torch.tensor([1, 0, 0])}
    loss = two_head_loss(output_of(job_category=JOB, min_education=LEVEL), targets)
    job = np.mean([cross_entropy(row, t) for row, t in zip(JOB, (0, 2, 1), strict=True)])
    level = np.mean([cross_entropy(row, t) for row, t in zip(LEVEL, (1, 0, 0), strict=True)])
    assert loss.item() == pytest.approx(job + level, abs=1e-6)


def test_a_missing_label_excludes_a_row_from_one_head():
    targets = {
        "job_category": torch.tensor([0, IGNORE_INDEX, 1]),
        "min_education": torch.tensor([IGNORE_INDEX, 0, IGNORE_INDEX]),
    }
    loss = two_head_loss(output_of(job_category=JOB, min_education=LEVEL), targets)
    job = (cross_entropy(JOB[0], 0) + cross_entropy(JOB[2], 1)) / 2
    assert loss.item() == pytest.approx(job + cross_entropy(LEVEL[1], 0), abs=1e-6)


@pytest.mark.parametrize("nothing", [None, torch.full((3,), IGNORE_INDEX)])
def test_a_head_without_labels_adds_nothing(nothing):
    output = output_of(job_category=JOB, min_education=LEVEL)
    given = two_head_loss(
        output, {"job_category": torch.tensor([0, 2, 1]), "min_education": nothing}
    )
    job = np.mean([cross_entropy(row, t) for row, t in zip(JOB, (0, 2, 1), strict=True)])
    assert given.item() == pytest.approx(job, abs=1e-6)
    assert two_head_loss(output, {"job_category": nothing, "min_education": nothing}).item() == 0


def test_class_weights_apply_to_their_head_only():
    targets = {"job_category": torch.tensor([0, 2, 1]), "min_education": torch.tensor([1, 0, 0])}
    weights = {"job_category": torch.tensor([1.0, 5.0, 0.5])}
    loss = two_head_loss(output_of(job_category=JOB, min_education=LEVEL), targets, weights)
    rows = [cross_entropy(row, t) for row, t in zip(JOB, (0, 2, 1), strict=True)]
    # The weighted mean of the rows, by each row's own class.
    job = (1.0 * rows[0] + 0.5 * rows[1] + 5.0 * rows[2]) / 6.5
    level = np.mean([cross_entropy(row, t) for row, t in zip(LEVEL, (1, 0, 0), strict=True)])
    assert loss.item() == pytest.approx(job + level, abs=1e-6)


def test_a_distance_weight_adds_its_heads_expected_distance():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.2, 0.2, 0.6]]))
    output = TwoHeadOutput(job_category_logits=logits, min_education_logits=logits)
    targets = {
        "job_category": torch.tensor([0, 2, 1]),
        "min_education": torch.tensor([0, 2, IGNORE_INDEX]),
    }
    plain = two_head_loss(output, targets)
    weighted = two_head_loss(output, targets, distance_weights={"min_education": 2.0})
    # (0.3 * 1 + 0.2 * 2) and (0.1 * 2 + 0.1 * 1) levels off; the third row has no label.
    assert weighted - plain == pytest.approx(2.0 * (0.7 + 0.3) / 2, abs=1e-6)


def test_label_smoothing_spreads_a_share_over_all_labels():
    targets = {"job_category": torch.tensor([0, IGNORE_INDEX, IGNORE_INDEX]), "min_education": None}
    loss = two_head_loss(
        output_of(job_category=JOB, min_education=LEVEL), targets, label_smoothing=0.3
    )
    even = np.mean([cross_entropy(JOB[0], label) for label in range(3)])
    assert loss.item() == pytest.approx(0.7 * cross_entropy(JOB[0], 0) + 0.3 * even, abs=1e-6)
