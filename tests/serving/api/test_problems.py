import pytest

from app.core.errors import EngineError, FatalEngineError
from tests.support.application import InProcessApp
from tests.support.problems import assert_problem

AD = {"text": "Koch für die Küche im Restaurant"}


@pytest.fixture(scope="module")
def app(checkpoint):
    return InProcessApp(checkpoint, settings={"max_batch_ads": 8, "max_body_bytes": 4096})


@pytest.fixture(scope="module")
def client(app):
    with app.client() as client:
        yield client


def test_an_unknown_path_and_method_are_problems_too(client):
    assert_problem(client.get("/nowhere"), 404, "Not Found")
    assert_problem(client.get("/classify"), 405, "Method Not Allowed")


def test_an_engine_failure_is_a_500_without_the_cause(checkpoint):
    def run(batch):
        raise RuntimeError("the inside")

    app = InProcessApp(checkpoint, run=run)
    with app.client() as client:
        response = client.post("/classify", json=AD)
        assert_problem(response, 500, "Inference failed")
        assert "inside" not in response.text
        assert client.get("/health/ready").status_code == 200


def test_one_ad_that_does_not_fit_fails_its_request_only(checkpoint):
    app = InProcessApp(checkpoint, run=lambda batch: [EngineError("too large")] * len(batch))
    with app.client() as client:
        assert assert_problem(client.post("/classify", json=AD), 500, "Inference failed")


def test_after_a_lost_device_nothing_is_ready(checkpoint):
    def run(batch):
        raise FatalEngineError("The device failed; the service has to restart.")

    app = InProcessApp(checkpoint, run=run)
    with app.client() as client:
        assert_problem(client.post("/classify", json=AD), 500, "Inference failed")
        assert_problem(client.get("/health/ready"), 503, "Not ready")
        assert_problem(client.post("/classify", json=AD), 503, "Not ready")
        assert client.get("/health/live").status_code == 200
