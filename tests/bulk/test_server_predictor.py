import httpx
import pytest

from app.bulk.prediction_columns import ERROR_COLUMN
from app.bulk.server_predictor import ServerError, ServerPredictor, connect_to_server
from app.client import DoppelkopfClient, Retries
from app.core.types import Ad
from app.schemas.examples import EXAMPLE_ANSWER
from tests.support.fake_transport import MODEL, FakeService, error_line

EXAMPLE_MODEL = EXAMPLE_ANSWER["model"]
ADS = [Ad("Koch"), Ad(""), Ad("<p>Arzt</p>", "Arzt", "html")]


def sender(fake: FakeService, revision: str = EXAMPLE_MODEL["revision"]) -> ServerPredictor:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/model":
            return httpx.Response(200, json=MODEL | EXAMPLE_MODEL | {"revision": revision})
        return fake(request)

    client = DoppelkopfClient(
        "http://fake",
        transport=httpx.MockTransport(answer),
        sleep=fake.sleep,
        clock=lambda: fake.now,
        retries=Retries(tries=2),
    )
    return ServerPredictor(client)


def test_rows_get_the_answers_and_empty_ones_are_not_sent():
    fake = FakeService()
    first, empty, last = sender(fake).answer(ADS)
    assert first["job_category_predicted"] == last["job_category_predicted"]
    assert first["min_education_probability"] == round(first["min_education_probability"], 6)
    assert (first[ERROR_COLUMN], empty[ERROR_COLUMN]) == (None, "The text is empty.")
    assert set(empty) == set(first)
    (request,) = fake.requests_to("/classify/stream")
    assert request.content.count(b"\n") == 2
    assert b'"format":"html"' in request.content


def test_a_row_that_failed_at_the_server_has_the_reason():
    fake = FakeService(lambda _: httpx.Response(200, content=error_line(1, 500, resume=False)))
    (row,) = sender(fake).answer(ADS[:1])
    assert row[ERROR_COLUMN] == "Do this."
    assert row["job_category_predicted"] is None


def test_a_lost_server_ends_the_run():
    with pytest.raises(ServerError, match=r"No answer from http://fake.*Repeat the command"):
        sender(FakeService(*[httpx.ConnectError("refused")] * 9)).answer(ADS)
    with pytest.raises(ServerError), connect_to_server("http://", None):
        pass


def test_another_checkpoint_at_the_server_ends_the_run():
    with pytest.raises(ServerError, match=f"{EXAMPLE_MODEL['revision']} by now"):
        sender(FakeService(), revision="before").answer(ADS)
