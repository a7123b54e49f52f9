import asyncio
import json

from app.core.head_labels import HEADS
from app.core.types import LabelProbability, ModelIdentity, Prediction
from app.schemas.ndjson import Line
from app.serving.api.stream.line_answers import LineAnswerer
from app.serving.metrics import Metrics
from app.serving.request_trace import Trace


class Failing:
    """A service with a fault."""

    model = None

    async def classify_bulk(self, *_):
        raise KeyError("inside")


def test_an_unexpected_error_fails_its_line_without_the_cause(caplog):
    answerer = LineAnswerer(Failing, Metrics(), Trace("job-3"), 100)
    answers = asyncio.run(answerer.answer([Line(4, b'{"text": "Geheimwort"}')]))
    error = json.loads(answers)
    assert (error["line"], error["resume"], error["error"]["status"]) == (4, False, 500)
    assert "inside" not in str(error)
    assert "a line of a stream failed" in caplog.text
    assert "Geheimwort" not in caplog.text


class Named:
    """A service that answers each ad with a label that its model alone has."""

    def __init__(self, revision):
        self.model = ModelIdentity("v", revision)

    async def classify_bulk(self, ads, _top_k):
        heads = {head: (LabelProbability(f"of {self.model.revision}", 1.0),) for head in HEADS}
        return [Prediction(self.model, heads, 3, 1, truncated=False)] * len(ads)


def test_each_part_is_answered_by_the_current_model():
    services = iter([Named("before"), Named("after")])
    answerer = LineAnswerer(lambda: next(services), Metrics(), Trace("job-4"), 100)
    for number, revision in enumerate(["before", "after"], start=1):
        lines = [Line(number, b'{"text": "Koch"}')] * 2
        for answer in map(json.loads, asyncio.run(answerer.answer(lines)).splitlines()):
            assert answer["model"]["revision"] == revision
            assert answer["job_category"]["label"] == f"of {revision}"
