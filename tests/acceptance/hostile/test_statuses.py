"""Every status in the OpenAPI document can be reached on a real server, with one worker or two.

The tests of `test_fuzz` check the other direction: only documented statuses occur.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.acceptance.hostile.conftest import LIMITS, MAX_BATCH_ADS, MAX_BODY_BYTES
from tests.acceptance.hostile.wire import KEY, Answer, Connection, Contract, RawRequest, post
from tests.support.polling import wait_until
from tests.support.server_process import free_port, running_server, start_server

pytestmark = pytest.mark.server

LONG = {"text": "Koch für die Küche mit Speisen " * 200}
BATCH = {"ads": [LONG] * MAX_BATCH_ADS}
STREAM = "/classify/stream"
POSTING = {"@type": "JobPosting", "description": f"<p>{LONG['text']}</p>"}
POSTINGS = {"@graph": [POSTING] * MAX_BATCH_ADS}
SOUND = {
    "/classify": LONG,
    "/classify/batch": BATCH,
    "/classify/jobposting": POSTINGS,
    STREAM: LONG,
}
# The failing checkpoint's tokenizer has no piece for this letter, nor an unknown piece.
FATAL = {
    "/classify": {"text": "あ"},
    "/classify/batch": {"ads": [{"text": "あ"}]},
    "/classify/jobposting": {"@type": "JobPosting", "title": "あ"},
}


def work_request(path: str, body: object, **headers: str) -> RawRequest:
    """Make a POST request with the media type that its route takes."""
    if path == STREAM:
        headers = {"content_type": "application/x-ndjson"} | headers
    return post(body, path.encode(), **headers)


def get(path: str, key: str = KEY) -> RawRequest:
    return RawRequest("GET", path.encode(), ((b"authorization", f"Bearer {key}".encode()),))


class Servers:
    """A server with small limits, one that fails, and the statuses seen while one was loading."""

    def __init__(self, server: str, failing: str, loading: dict[str, set[int]]) -> None:
        self._server, self.failing, self.loading = server, failing, loading

    def ask(self, sent: RawRequest, address: str | None = None) -> Answer:
        with Connection(address or self._server) as connection:
            return connection.ask(sent)


@pytest.fixture(scope="module", params=["1", "2"], ids=lambda count: f"{count} workers")
def workers(request: pytest.FixtureRequest) -> str:
    """The number of front ends, which must make no difference to the answers."""
    return request.param


@pytest.fixture(scope="module")
def limited(
    workers: str,
    request: pytest.FixtureRequest,
    tiny_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """The server that the other hostile tests share, or one like it."""
    if workers == "1":
        yield request.getfixturevalue("server")
        return
    log = tmp_path_factory.mktemp("limited") / "log"
    with running_server(tiny_folder, log, workers=workers, **LIMITS) as address:
        yield address
    assert "Traceback" not in log.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def loading(
    workers: str, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, set[int]]:
    """The statuses of each path between the start of a server and its readiness."""
    log = tmp_path_factory.mktemp("loading") / "log"
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    seen: dict[str, set[int]] = {}

    def ready() -> bool:
        for path in (*SOUND, "/model", "/health", "/health/ready"):
            sent = work_request(path, {"text": "Koch"}) if path in SOUND else get(path)
            try:
                with Connection(address) as connection:
                    status = connection.ask(sent).status
            except ConnectionError:
                return False
            seen.setdefault(path, set()).add(status)
        return status == 200

    process = start_server(tiny_folder, log, port, workers=workers)
    try:
        wait_until(ready, seconds=60)
    finally:
        process.terminate()
        process.wait(timeout=30)
    return seen


@pytest.fixture(scope="module")
def servers(
    workers: str,
    limited: str,
    loading: dict[str, set[int]],
    failing_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Servers]:
    log = tmp_path_factory.mktemp("failing") / "log"
    options = {"workers": workers, "client_seconds": "1"}
    with running_server(failing_folder, log, **options) as failing:
        yield Servers(limited, failing, loading)


def well_formed(servers: Servers, path: str) -> int:
    return servers.ask(work_request(path, SOUND[path]) if path in SOUND else get(path)).status


def malformed_json(servers: Servers, path: str) -> int:
    return servers.ask(post(b'{"text": ', path.encode())).status


def missing_key(servers: Servers, path: str) -> int:
    return servers.ask(work_request(path, {}, key="") if path in SOUND else get(path, "")).status


def incomplete_body(servers: Servers, path: str) -> int:
    """Announce more bytes than are sent; this server waits one second for them."""
    whole = post(SOUND[path], path.encode())
    announced = RawRequest(
        "POST", whole.target, (*whole.headers, (b"content-length", b"99999")), b"{"
    )
    return servers.ask(announced, servers.failing).status


def too_large(servers: Servers, path: str) -> int:
    return servers.ask(post(b" " * (MAX_BODY_BYTES + 1), path.encode())).status


def wrong_media_type(servers: Servers, path: str) -> int:
    return servers.ask(post(SOUND[path], path.encode(), content_type="text/plain")).status


def invalid_body(servers: Servers, path: str) -> int:
    sent = post({"txet": ""}, path.encode()) if path in SOUND else get(f"{path}?top_k=3")
    return servers.ask(sent).status


def invalid_first_line(servers: Servers, path: str) -> int:
    return servers.ask(work_request(path, SOUND[path], x_first_line="0")).status


def full_queue(servers: Servers, path: str) -> int:
    """Send full batches from several threads until the request gets 429."""
    full = post(BATCH, b"/classify/batch")
    with ThreadPoolExecutor(8) as others:
        for _ in range(50):
            filling = [others.submit(servers.ask, full) for _ in range(8)]
            answer = servers.ask(work_request(path, SOUND[path]))
            for one in filling:
                one.result()
            if answer.status == 429:
                assert int(answer.headers["retry-after"]) >= 1
                break
    return answer.status


def failing(servers: Servers, path: str) -> int:
    return servers.ask(post(FATAL[path], path.encode()), servers.failing).status


def still_loading(servers: Servers, path: str) -> int:
    return 503 if 503 in servers.loading[path] else 0


def tight_deadline(servers: Servers, path: str) -> int:
    return servers.ask(post(SOUND[path], path.encode(), x_request_timeout_ms="1")).status


StatusTrigger = Callable[[Servers, str], int]
WORK: dict[int, StatusTrigger] = {
    200: well_formed,
    400: malformed_json,
    401: missing_key,
    408: incomplete_body,
    413: too_large,
    415: wrong_media_type,
    422: invalid_body,
    429: full_queue,
    500: failing,
    503: still_loading,
    504: tight_deadline,
}
REACHED: dict[tuple[str, str], dict[int, StatusTrigger]] = {
    ("POST", "/classify"): WORK,
    ("POST", "/classify/batch"): WORK,
    ("POST", STREAM): {
        200: well_formed,
        401: missing_key,
        415: wrong_media_type,
        422: invalid_first_line,
        429: full_queue,
        503: still_loading,
    },
    ("POST", "/classify/jobposting"): WORK,
    ("GET", "/model"): {200: well_formed, 401: missing_key, 422: invalid_body, 503: still_loading},
    ("GET", "/health/live"): {200: well_formed},
    ("GET", "/health/ready"): {200: well_formed, 503: still_loading},
    ("GET", "/health"): {200: well_formed, 503: still_loading},
    ("GET", "/metrics"): {200: well_formed},
}
CASES = [
    pytest.param(path, status, trigger, id=f"{method} {path} {status}")
    for (method, path), statuses in REACHED.items()
    for status, trigger in statuses.items()
]


@pytest.mark.parametrize(("path", "status", "trigger"), CASES)
def test_documented_status_is_reached(
    servers: Servers, path: str, status: int, trigger: StatusTrigger
) -> None:
    assert trigger(servers, path) == status


def test_document_lists_exactly_these_statuses(contract: Contract) -> None:
    listed = {
        operation: {int(status) for status in description["responses"]}
        for operation, description in contract.operations.items()
    }
    assert listed == {operation: set(statuses) for operation, statuses in REACHED.items()}


def test_unknown_paths_and_wrong_methods_get_problems(server: str, contract: Contract) -> None:
    with Connection(server) as connection:
        for _, path in contract.operations:
            for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "HEAD"):
                answer = connection.ask(RawRequest(method, path.encode()))
                assert answer.status == 405
                assert answer.headers["allow"] in ("GET", "POST")
                contract.check(method, path, answer)
            for wrong in (f"{path}/", f"{path}x", f"/{path}", path.upper()):
                answer = connection.ask(RawRequest("GET", wrong.encode()))
                assert answer.status == 404, wrong
                contract.check("GET", wrong, answer)


def test_each_request_is_counted_once(server: str, connection: Connection) -> None:
    """Whatever its status."""
    sent = [
        post({"text": "Koch"}), post({}), post(b"{"), post({}, content_type="text/plain"),
        post({}, key=""),
        RawRequest("GET", b"/nowhere"), RawRequest("PUT", b"/classify"), get("/model"),
    ]  # fmt: skip
    before = _counted(server)
    for one in sent:
        connection.ask(one)
    # A request for the metrics is counted after its answer, so only the first one is included.
    assert _counted(server) - before == len(sent) + 1


def _counted(address: str) -> float:
    lines = httpx.get(f"{address}/metrics").text.splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith("doppelkopf_requests_total{")
    )
