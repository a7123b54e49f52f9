import pytest

from app.bulk.engine_predictor import EnginePredictor
from app.core.types import Ad
from app.engine.engine import Engine
from tests.support.ad_files import LABELLED_ADS


def test_predictions_are_those_of_the_engine(checkpoint):
    predictor = EnginePredictor.of(checkpoint, "cpu", "float32", None)
    engine, ads = Engine(checkpoint, "cpu", "float32"), [Ad(row["text"]) for row in LABELLED_ADS]
    assert predictor.max_tokens == engine.batch_tokens
    for ad, columns in zip(ads, predictor.answer(ads), strict=True):
        (scores,) = engine.run(checkpoint.tokenizer().encode([ad]))
        for head, probabilities in scores.probabilities.items():
            label = checkpoint.heads[head].labels[probabilities.argmax()]
            assert columns[f"{head}_predicted"] == label
            assert columns[f"{head}_probability"] == pytest.approx(
                float(probabilities.max()), abs=1e-5
            )
