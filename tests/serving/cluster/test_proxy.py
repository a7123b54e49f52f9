"""What stands before a proxy of Serve: whose answers pass, and what clients see of the others."""

import asyncio

import pytest
import uvicorn
import uvicorn.config
from fastapi import FastAPI
from starlette.testclient import TestClient
from uvicorn.server import ServerState

from app.core.errors import NotReadyError
from app.serving.api.problems import PROBLEM_MEDIA_TYPE, add_problem_handlers
from app.serving.api.telemetry import Telemetry
from app.serving.cluster.proxy import LOST, NOT_THERE, Plain, UploadWindow, connection, middlewares
from app.serving.metrics import Metrics
from app.serving.server.http_connection import HttpConnection
from app.serving.settings import Settings

AHEAD = 1000
PROBLEM = [(b"content-type", PROBLEM_MEDIA_TYPE.encode())]


def proxy(status=200, headers=()):
    """Answer as a proxy does: whatever the application says, with an id of its own behind it."""

    async def app(scope, receive, send):
        told = [*headers, (b"x-request-id", b"proxys-own")]
        await send({"type": "http.response.start", "status": status, "headers": told})
        for part in (b"plain ", b"text"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


async def silent(scope, receive, send):
    """Lose the replica before it has said anything."""


def asked(app, path="/classify", headers=None):
    return TestClient(Plain(app, AHEAD)).get(path, headers=headers)


def ids(response):
    return response.headers.get_list("x-request-id")


def assert_is_problem(response, status, detail):
    assert response.status_code == status
    assert response.headers["content-type"] == PROBLEM_MEDIA_TYPE
    document = response.json()
    assert (document["status"], document["detail"]) == (status, detail)
    assert ids(response) == [document["request_id"]]


@pytest.mark.parametrize("status", [200, 404, 422, 429, 500, 503])
def test_an_answer_of_the_application_passes_as_it_is(status):
    ours = [(b"server-timing", b"total;dur=1"), (b"x-request-id", b"job-1"), (b"retry-after", b"9")]
    response = asked(proxy(status, ours))
    assert (response.status_code, response.content) == (status, b"plain text")
    assert response.headers["server-timing"] == "total;dur=1"
    assert response.headers["retry-after"] == "9"
    assert ids(response) == ["job-1"]


def test_the_application_before_which_it_stands_is_known_by_its_answers():
    app = FastAPI()
    add_problem_handlers(app)
    app.add_middleware(Telemetry, metrics=Metrics())

    @app.get("/classify")
    def refuse():
        raise NotReadyError("Still loading.")

    @app.get("/broken")
    def fail():
        raise RuntimeError("inside")

    client = TestClient(Plain(app, AHEAD), raise_server_exceptions=False)
    assert_is_problem(client.get("/classify"), 503, "Still loading.")
    assert_is_problem(client.get("/broken"), 500, "Something unexpected failed.")
    assert client.get("/nowhere").json()["title"] == "Not Found"


def test_a_problem_of_the_application_that_has_no_timing_passes():
    response = asked(proxy(500, [*PROBLEM, (b"x-request-id", b"job-1")]))
    assert (response.status_code, response.content) == (500, b"plain text")
    assert ids(response) == ["job-1"]


@pytest.mark.parametrize("status", [404, 408, 500, 503])
def test_what_the_proxy_itself_says_becomes_a_problem_that_says_to_come_back(status):
    response = asked(proxy(status, [(b"content-type", b"text/plain")]))
    assert_is_problem(response, 503, NOT_THERE)
    assert "retry-after" not in response.headers


@pytest.mark.parametrize(
    ("given", "seconds"), [([], 1), ([(b"retry-after", b"7")], 7), ([(b"retry-after", b"0")], 1)]
)
def test_a_proxy_that_is_full_says_when_to_come_back(given, seconds):
    response = asked(proxy(429, given))
    assert_is_problem(response, 429, f"Too many requests wait; try again in {seconds} s.")
    assert response.headers["retry-after"] == str(seconds)


def test_where_no_answer_came_the_client_is_told_to_send_it_again():
    assert_is_problem(asked(silent), 503, LOST)


@pytest.mark.parametrize("app", [silent, proxy(500)])
def test_a_clients_own_id_stands_in_the_problem_if_it_is_one(app):
    assert asked(app, headers={"X-Request-Id": "job-7"}).json()["request_id"] == "job-7"
    response = asked(app, headers={"X-Request-Id": "job 7!"})
    assert len(response.json()["request_id"]) == 32
    assert ids(response) == [response.json()["request_id"]]


@pytest.mark.parametrize("path", ["/-/healthz", "/-/routes"])
def test_serves_own_addresses_are_left_alone(path):
    response = asked(proxy(503), path)
    assert (response.status_code, response.content) == (503, b"plain text")
    assert ids(response) == ["proxys-own"]


def test_what_is_no_request_is_left_alone():
    seen = []

    async def app(scope, receive, send):
        seen.append((scope, receive, send))

    receive, send = object(), object()
    asyncio.run(Plain(app, AHEAD)({"type": "lifespan"}, receive, send))
    assert seen == [({"type": "lifespan"}, receive, send)]


@pytest.fixture
def registry():
    """The server's protocols by name, put back afterwards."""
    protocols = uvicorn.config.HTTP_PROTOCOLS
    before = dict(protocols)
    yield protocols
    protocols.clear()
    protocols.update(before)


def test_a_proxy_gets_what_stands_before_it_and_our_connections(registry):
    (found,) = middlewares()
    assert found.cls is Plain
    config = uvicorn.Config(silent, log_config=None)
    config.load()
    assert config.http_protocol_class is connection


def test_a_connection_is_that_of_one_machine(registry):
    middlewares()

    async def main():
        headers = [("X-More", "1")]
        config = uvicorn.Config(silent, headers=headers, log_config=None)
        config.load()
        made = config.http_protocol_class(config=config, server_state=ServerState(), app_state={})
        assert isinstance(made, HttpConnection)
        assert made._client_seconds == Settings.model_fields["client_seconds"].default
        assert made.ws_protocol_class is None
        # Not whose server it is.
        assert config.encoded_headers == [(b"x-more", b"1")]

    asyncio.run(main())


def test_a_stream_waits_while_its_lines_are_too_far_ahead_of_their_answers():
    async def test():
        ahead = UploadWindow(max_bytes=10)
        for chunk in (b"12345\n", b"12", b"345\n6"):
            await asyncio.wait_for(ahead.near(), 1)
            ahead.sent(chunk)
        waiting = asyncio.create_task(ahead.near())
        await asyncio.sleep(0)
        assert not waiting.done()
        ahead.answered(b"{}")
        await asyncio.sleep(0)
        assert not waiting.done()
        ahead.answered(b"\n")
        await asyncio.wait_for(waiting, 1)

    asyncio.run(test())


def test_a_body_that_is_answered_late_is_read_up_to_the_limit_only():
    read = []

    async def late(scope, receive, send):
        while (message := await receive())["type"] == "http.request":
            read.append(len(message["body"]))

    async def test():
        async def receive():
            return {"type": "http.request", "body": b"a" * 400, "more_body": True}

        scope = {"type": "http", "path": "/", "headers": []}
        asking = asyncio.create_task(Plain(late, AHEAD)(scope, receive, None))
        for _ in range(20):
            await asyncio.sleep(0)
        asking.cancel()

    asyncio.run(test())
    assert sum(read) == 1200
