from app.core.errors import CheckpointError
from tests.support.application import InProcessApp
from tests.support.problems import assert_problem

AD = {"text": "Koch für die Küche im Restaurant"}


def test_an_application_without_a_model_is_live_and_not_ready(checkpoint):
    app = InProcessApp(checkpoint, load_error=CheckpointError("no weights"))
    with app.client() as client:
        assert client.get("/health/live").status_code == 200
        for method, path in (("get", "/health"), ("get", "/health/ready"), ("get", "/model")):
            assert_problem(client.request(method, path), 503, "Not ready")
        assert_problem(client.post("/classify", json=AD), 503, "Not ready")
        assert [str(error) for error in app.failures] == ["no weights"]
