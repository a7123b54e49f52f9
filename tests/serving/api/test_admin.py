import contextlib
import dataclasses

import pytest

from app.core.errors import CheckpointRefusedError, SwapRunningError
from app.core.served_model import CompletedSwap
from app.serving.api.state import state_of
from tests.support.application import InProcessApp, served_model

KEY = "an-operators-own-key"
SETTINGS = {"admin_keys": KEY, "api_keys": "a-callers-own-api-key"}
HEADERS = {"Authorization": f"Bearer {KEY}"}


class Swapping:
    """Answers with one outcome and keeps what it was asked."""

    def __init__(self, outcome):
        self.outcome, self.asked = outcome, []

    async def swap(self, name=None):
        self.asked.append(name)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def drain(self):
        pass


@pytest.fixture
def swap(checkpoint):
    old = served_model(checkpoint)
    return CompletedSwap(old, dataclasses.replace(old, name="v2", revision="2"), 1.23456)


@pytest.fixture
def admin(checkpoint):
    """Gives a client of an application whose swaps end in one way."""
    with contextlib.ExitStack() as stack:

        def start(outcome, settings=SETTINGS):
            app = InProcessApp(checkpoint, settings=settings)
            client = stack.enter_context(app.client())
            state_of(app.app).swapper = None if outcome is None else Swapping(outcome)
            return client, app

        yield start


def post(client, headers=HEADERS, **body):
    return client.post("/admin/model", headers=headers, **body)


def test_the_answer_names_both_models_and_the_time(admin, swap):
    client, app = admin(swap)
    answer = post(client, json={"model": "v2"})
    assert answer.status_code == 200
    assert answer.json() == {
        "old": {"name": swap.old.name, "revision": swap.old.revision},
        "new": {"name": "v2", "revision": "2"},
        "changed": True,
        "seconds": 1.235,
    }
    assert state_of(app.app).swapper.asked == ["v2"]


@pytest.mark.parametrize("body", [{}, {"json": {}}, {"json": {"model": None}}])
def test_without_a_name_the_setting_is_read_again(admin, swap, body):
    client, app = admin(swap)
    assert post(client, **body).status_code == 200
    assert state_of(app.app).swapper.asked == [None]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer a-callers-own-api-key"}])
def test_only_an_admin_key_opens_the_route(admin, swap, headers):
    client, app = admin(swap)
    # Before anything is read: the body is none.
    assert post(client, headers=headers, content=b"{").status_code == 401
    assert state_of(app.app).swapper.asked == []


def test_an_admin_key_opens_no_other_route(admin, swap):
    client, _ = admin(swap)
    assert client.post("/classify", json={"text": "Koch"}, headers=HEADERS).status_code == 401


def test_without_admin_keys_there_is_no_route(admin, swap):
    client, _ = admin(swap, {})
    assert post(client, json={"model": "v2"}).status_code == 404
    assert "/admin/model" not in client.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400),
        ({"content": b"v2"}, 415),
        ({"json": {"model": "v" * 5000}}, 413),
        ({"json": {"model": "v" * 256}}, 422),
        ({"json": {"modell": "v2"}}, 422),
        ({"json": ["v2"]}, 422),
    ],
)
def test_a_body_of_another_shape_is_refused(admin, swap, body, status):
    client, app = admin(swap)
    body = {**body, "headers": HEADERS | body.get("headers", {})}
    answer = client.post("/admin/model", **body)
    assert (answer.status_code, answer.headers["content-type"]) == (
        status, "application/problem+json",
    )  # fmt: skip
    assert state_of(app.app).swapper.asked == []


def test_a_refused_checkpoints_problem_has_the_reason(admin):
    client, _ = admin(CheckpointRefusedError("The checkpoint v2 has no file config.json."))
    answer = post(client, json={"model": "v2"})
    assert answer.status_code == 422
    assert answer.json()["title"] == "Checkpoint refused"
    assert answer.json()["detail"] == "The checkpoint v2 has no file config.json."


def test_a_swap_during_another_or_while_loading_is_refused(admin):
    client, _ = admin(SwapRunningError("Another checkpoint is being loaded."))
    assert post(client).status_code == 409
    client, _ = admin(None)
    assert post(client).status_code == 503


def test_every_status_is_documented_and_counted_from_the_start(admin, swap):
    client, app = admin(swap)
    document = client.app.openapi()
    statuses = document["paths"]["/admin/model"]["post"]["responses"]
    assert set(statuses) == {"200", "400", "401", "408", "409", "413", "415", "422", "503"}
    assert app.metric("requests_total", route="/admin/model", status="409") == 0
