import numpy as np
import pytest

from app.core.errors import DataError
from app.data.labelled_ads import ColumnNames
from app.engine.engine import Engine
from app.training.evaluation.evaluate import evaluate, read_test_ads
from tests.support.ad_files import LABELLED_ADS, write_ads


def perfect_pass(checkpoint, table):
    """A packed pass that returns the true label of each row, in order; the first if it has none."""
    targets = table.targets(checkpoint.heads, "x")
    rows = iter(range(len(table)))

    def run(batch):
        return [
            {head: 9 * np.eye(3, dtype=np.float32)[[max(values[row], 0)]]
             for head, values in targets.items()}
            for _, row in zip(batch, rows, strict=False)
        ]  # fmt: skip

    return run


def test_perfect_predictions_score_one(tmp_path, checkpoint):
    gap = {"text": "Koch", "job_category": "cooking", "min_education": ""}
    blank = {**gap, "job_category": ""}
    table = read_test_ads(
        checkpoint, write_ads(tmp_path / "a.csv", [*LABELLED_ADS, gap, blank]), ColumnNames()
    )
    done = []
    found = evaluate(checkpoint, table, perfect_pass(checkpoint, table), 64, done.append)
    content = found.as_json()
    assert content["rows"] == {"labelled": 10, "unlabelled": 1, "truncated": 0}
    assert (content["job_category"]["rows"], content["min_education"]["rows"]) == (10, 9)
    assert content["job_category"]["accuracy"] == content["min_education"]["macro_f1"] == 1
    assert content["min_education"]["mean_level_error"] == 0
    assert "mean_level_error" not in content["job_category"]
    assert content["revision"] == checkpoint.revision
    assert sum(done) == 10


def test_probabilities_are_those_of_the_engine(tmp_path, checkpoint):
    table = read_test_ads(checkpoint, write_ads(tmp_path / "a.jsonl", LABELLED_ADS), ColumnNames())
    engine = Engine(checkpoint, "cpu")
    found = evaluate(checkpoint, table, engine.logits, 40)
    answers = engine.run(checkpoint.tokenizer().encode(table.ads))
    for name, metrics in found.heads.items():
        expected = np.stack([answer.probabilities[name] for answer in answers])
        np.testing.assert_allclose(metrics.after, expected, atol=1e-5)


def test_a_label_unknown_to_the_checkpoint_is_refused(tmp_path, checkpoint):
    data = write_ads(
        tmp_path / "a.csv", [LABELLED_ADS[0], {**LABELLED_ADS[1], "min_education": "masters"}]
    )
    with pytest.raises(
        DataError, match=r"row 2, column 'min_education': 'masters' is none .* mean 'master'\?"
    ):
        read_test_ads(checkpoint, data, ColumnNames())
