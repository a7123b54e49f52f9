"""The middleware of Serve's proxies: which answers pass, and which become problem documents."""

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
from app.serving.cluster.proxy import (
    LOST,
    NOT_AVAILABLE,
    ProblemDocumentMiddleware,
    UploadWindow,
    connection,
    middlewares,
)
from app.serving.metrics import Metrics
from app.serving.server.http_connection import HttpConnection
from app.serving.settings import Settings

WINDOW_BYTES = 1000
PROBLEM = [(b"content-type", PROBLEM_MEDIA_TYPE.encode())]


def proxy(status=200, headers=()):
    """Return an app that answers as a proxy does: with a request id of its own added."""

    async def app(scope, receive, send):
        sent = [*headers, (b"x-request-id", b"proxys-own")]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        for part in (b"plain ", b"text"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


async def silent(scope, receive, send):
    """End without an answer, as for a replica that is lost."""


def get(app, path="/classify", headers=None):
    return TestClient(ProblemDocumentMiddleware(app, WINDOW_BYTES)).get(path, headers=headers)


def ids(response):
    return response.headers.get_list("x-request-id")


def assert_is_problem(response, status, detail):
    assert response.status_code == status
    assert response.headers["content-type"] == PROBLEM_MEDIA_TYPE
    document = response.json()
    assert (document["status"], document["detail"]) == (status, detail)
    assert ids(response) == [document["request_id"]]


@pytest.mark.parametrize("status", [200, 404, 422, 429, 500, 503])
def test_an_answer_of_the_application_passes_unchanged(status):
    ours = [(b"server-timing", b"total;dur=1"), (b"x-request-id", b"job-1"), (b"retry-after", b"9")]
    response = get(proxy(status, ours))
    assert (response.status_code, response.content) == (status, b"plain text")
    assert response.headers["server-timing"] == "total;dur=1"
    assert response.headers["retry-after"] == "9"
    assert ids(response) == ["job-1"]


def test_answers_of_the_real_application_are_recognized():
    app = FastAPI()
    add_problem_handlers(app)
    app.add_middleware(Telemetry, metrics=Metrics())

    @app.get("/classify")
    def refuse():
        raise NotReadyError("Still loading.")

    @app.get("/broken")
    def fail():
        raise RuntimeError("inside")

    client = TestClient(ProblemDocumentMiddleware(app, WINDOW_BYTES), raise_server_exceptions=False)
    assert_is_problem(client.get("/classify"), 503, "Still loading.")
    assert_is_problem(client.get("/broken"), 500, "Something unexpected failed.")
    assert client.get("/nowhere").json()["title"] == "Not Found"


def test_a_problem_of_the_application_without_timing_passes():
    response = get(proxy(500, [*PROBLEM, (b"x-request-id", b"job-1")]))
    assert (response.status_code, response.content) == (500, b"plain text")
    assert ids(response) == ["job-1"]


@pytest.mark.parametrize("status", [404, 408, 500, 503])
def test_an_answer_of_the_proxy_becomes_a_503_problem(status):
    response = get(proxy(status, [(b"content-type", b"text/plain")]))
    assert_is_problem(response, 503, NOT_AVAILABLE)
    assert "retry-after" not in response.headers


@pytest.mark.parametrize(
    ("given", "seconds"), [([], 1), ([(b"retry-after", b"7")], 7), ([(b"retry-after", b"0")], 1)]
)
def test_a_full_proxy_gives_a_retry_time(given, seconds):
    response = get(proxy(429, given))
    assert_is_problem(response, 429, f"Too many requests wait; try again in {seconds} s.")
    assert response.headers["retry-after"] == str(seconds)


def test_a_request_without_an_answer_gets_a_problem():
    assert_is_problem(get(silent), 503, LOST)


@pytest.mark.parametrize("app", [silent, proxy(500)])
def test_a_problem_has_the_clients_request_id_if_valid(app):
    assert get(app, headers={"X-Request-Id": "job-7"}).json()["request_id"] == "job-7"
    response = get(app, headers={"X-Request-Id": "job 7!"})
    assert len(response.json()["request_id"]) == 32
    assert ids(response) == [response.json()["request_id"]]


@pytest.mark.parametrize("path", ["/-/healthz", "/-/routes"])
def test_paths_of_serve_itself_pass_unchanged(path):
    response = get(proxy(503), path)
    assert (response.status_code, response.content) == (503, b"plain text")
    assert ids(response) == ["proxys-own"]


def test_a_lifespan_scope_passes_unchanged():
    seen = []

    async def app(scope, receive, send):
        seen.append((scope, receive, send))

    receive, send = object(), object()
    asyncio.run(ProblemDocumentMiddleware(app, WINDOW_BYTES)({"type": "lifespan"}, receive, send))
    assert seen == [({"type": "lifespan"}, receive, send)]


@pytest.fixture
def registry():
    """Uvicorn's protocol classes by name, restored afterwards."""
    protocols = uvicorn.config.HTTP_PROTOCOLS
    before = dict(protocols)
    yield protocols
    protocols.clear()
    protocols.update(before)


def test_a_proxy_gets_the_middleware_and_our_connections(registry):
    (found,) = middlewares()
    assert found.cls is ProblemDocumentMiddleware
    config = uvicorn.Config(silent, log_config=None)
    config.load()
    assert config.http_protocol_class is connection


def test_a_connection_has_the_options_of_a_single_machine(registry):
    middlewares()

    async def main():
        headers = [("X-More", "1")]
        config = uvicorn.Config(silent, headers=headers, log_config=None)
        config.load()
        made = config.http_protocol_class(config=config, server_state=ServerState(), app_state={})
        assert isinstance(made, HttpConnection)
        assert made._client_seconds == Settings.model_fields["client_seconds"].default
        assert made.ws_protocol_class is None
        # Without the header that names the server.
        assert config.encoded_headers == [(b"x-more", b"1")]

    asyncio.run(main())


def test_the_window_closes_until_lines_are_answered():
    async def test():
        window = UploadWindow(max_bytes=10)
        for chunk in (b"12345\n", b"12", b"345\n6"):
            await asyncio.wait_for(window.wait_until_open(), 1)
            window.received(chunk)
        waiting = asyncio.create_task(window.wait_until_open())
        await asyncio.sleep(0)
        assert not waiting.done()
        window.answered(b"{}")
        await asyncio.sleep(0)
        assert not waiting.done()
        window.answered(b"\n")
        await asyncio.wait_for(waiting, 1)

    asyncio.run(test())


def test_a_body_without_an_answer_is_read_up_to_the_window():
    read = []

    async def late(scope, receive, send):
        while (message := await receive())["type"] == "http.request":
            read.append(len(message["body"]))

    async def test():
        async def receive():
            return {"type": "http.request", "body": b"a" * 400, "more_body": True}

        scope = {"type": "http", "path": "/", "headers": []}
        request = asyncio.create_task(
            ProblemDocumentMiddleware(late, WINDOW_BYTES)(scope, receive, None)
        )
        for _ in range(20):
            await asyncio.sleep(0)
        request.cancel()

    asyncio.run(test())
    assert sum(read) == 1200
