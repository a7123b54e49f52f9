"""Each status that the OpenAPI document lists is reached on the real server, and it lists no other.

What fuzzing meets is held to the document too; here is the other half: nothing in it is idle.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.acceptance.hostile.conftest import LIMITS, MAX_BATCH_ADS, MAX_BODY_BYTES
from tests.acceptance.hostile.wire import KEY, Answer, Connection, Contract, Sent, post
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
# Its tokenizer has no piece for this letter, and none for the unknown.
FATAL = {
    "/classify": {"text": "あ"},
    "/classify/batch": {"ads": [{"text": "あ"}]},
    "/classify/jobposting": {"@type": "JobPosting", "title": "あ"},
}


def ask_for(path: str, body: object, **headers: str) -> Sent:
    """Make a request that does work, of the type that its route takes."""
    if path == STREAM:
        headers = {"content_type": "application/x-ndjson"} | headers
    return post(body, path.encode(), **headers)


def get(path: str, key: str = KEY) -> Sent:
    return Sent("GET", path.encode(), ((b"authorization", f"Bearer {key}".encode()),))


class World:
    """The servers, in the states that statuses need."""

    def __init__(self, server: str, failing: str, loading: dict[str, set[int]]) -> None:
        self._server, self.failing, self.loading = server, failing, loading

    def ask(self, sent: Sent, address: str | None = None) -> Answer:
        with Connection(address or self._server) as connection:
            return connection.ask(sent)


@pytest.fixture(scope="module", params=["1", "2"], ids=lambda count: f"{count} workers")
def workers(request: pytest.FixtureRequest) -> str:
    """How many processes take requests: what they answer may not tell."""
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
    """The statuses that each path answered with, from the process's start until it was ready."""
    log = tmp_path_factory.mktemp("loading") / "log"
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    seen: dict[str, set[int]] = {}

    def ready() -> bool:
        for path in (*SOUND, "/model", "/health", "/health/ready"):
            sent = ask_for(path, {"text": "Koch"}) if path in SOUND else get(path)
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
def world(
    workers: str,
    limited: str,
    loading: dict[str, set[int]],
    failing_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    log = tmp_path_factory.mktemp("failing") / "log"
    options = {"workers": workers, "client_seconds": "1"}
    with running_server(failing_folder, log, **options) as failing:
        yield World(limited, failing, loading)


def sound(world: World, path: str) -> int:
    return world.ask(ask_for(path, SOUND[path]) if path in SOUND else get(path)).status


def malformed(world: World, path: str) -> int:
    return world.ask(post(b'{"text": ', path.encode())).status


def keyless(world: World, path: str) -> int:
    return world.ask(ask_for(path, {}, key="") if path in SOUND else get(path, "")).status


def slow(world: World, path: str) -> int:
    """Announce more than is sent; this server waits for a second."""
    whole = post(SOUND[path], path.encode())
    announced = Sent("POST", whole.target, (*whole.headers, (b"content-length", b"99999")), b"{")
    return world.ask(announced, world.failing).status


def too_large(world: World, path: str) -> int:
    return world.ask(post(b" " * (MAX_BODY_BYTES + 1), path.encode())).status


def of_another_type(world: World, path: str) -> int:
    return world.ask(post(SOUND[path], path.encode(), content_type="text/plain")).status


def of_another_shape(world: World, path: str) -> int:
    sent = post({"txet": ""}, path.encode()) if path in SOUND else get(f"{path}?top_k=3")
    return world.ask(sent).status


def numbered_from_nothing(world: World, path: str) -> int:
    return world.ask(ask_for(path, SOUND[path], x_first_line="0")).status


def crowded(world: World, path: str) -> int:
    """Fill the house from several sides until somebody has to wait outside."""
    full = post(BATCH, b"/classify/batch")
    with ThreadPoolExecutor(8) as others:
        for _ in range(50):
            filling = [others.submit(world.ask, full) for _ in range(8)]
            answer = world.ask(ask_for(path, SOUND[path]))
            for one in filling:
                one.result()
            if answer.status == 429:
                assert int(answer.headers["retry-after"]) >= 1
                break
    return answer.status


def failing(world: World, path: str) -> int:
    return world.ask(post(FATAL[path], path.encode()), world.failing).status


def too_early(world: World, path: str) -> int:
    return 503 if 503 in world.loading[path] else 0


def hurried(world: World, path: str) -> int:
    return world.ask(post(SOUND[path], path.encode(), x_request_timeout_ms="1")).status


Reach = Callable[[World, str], int]
WORK: dict[int, Reach] = {
    200: sound,
    400: malformed,
    401: keyless,
    408: slow,
    413: too_large,
    415: of_another_type,
    422: of_another_shape,
    429: crowded,
    500: failing,
    503: too_early,
    504: hurried,
}
REACHED: dict[tuple[str, str], dict[int, Reach]] = {
    ("POST", "/classify"): WORK,
    ("POST", "/classify/batch"): WORK,
    ("POST", STREAM): {
        200: sound,
        401: keyless,
        415: of_another_type,
        422: numbered_from_nothing,
        429: crowded,
        503: too_early,
    },
    ("POST", "/classify/jobposting"): WORK,
    ("GET", "/model"): {200: sound, 401: keyless, 422: of_another_shape, 503: too_early},
    ("GET", "/health/live"): {200: sound},
    ("GET", "/health/ready"): {200: sound, 503: too_early},
    ("GET", "/health"): {200: sound, 503: too_early},
    ("GET", "/metrics"): {200: sound},
}
CASES = [
    pytest.param(path, status, reach, id=f"{method} {path} {status}")
    for (method, path), statuses in REACHED.items()
    for status, reach in statuses.items()
]


@pytest.mark.parametrize(("path", "status", "reach"), CASES)
def test_a_documented_status_is_reached(world: World, path: str, status: int, reach: Reach) -> None:
    assert reach(world, path) == status


def test_the_document_lists_these_and_no_others(contract: Contract) -> None:
    listed = {
        operation: {int(status) for status in description["responses"]}
        for operation, description in contract.operations.items()
    }
    assert listed == {operation: set(statuses) for operation, statuses in REACHED.items()}


def test_an_unknown_path_and_a_wrong_method_are_problems_on_every_route(
    server: str, contract: Contract
) -> None:
    with Connection(server) as connection:
        for _, path in contract.operations:
            for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "HEAD"):
                answer = connection.ask(Sent(method, path.encode()))
                assert answer.status == 405
                assert answer.headers["allow"] in ("GET", "POST")
                contract.check(method, path, answer)
            for wrong in (f"{path}/", f"{path}x", f"/{path}", path.upper()):
                answer = connection.ask(Sent("GET", wrong.encode()))
                assert answer.status == 404, wrong
                contract.check("GET", wrong, answer)


def test_the_counters_add_up_to_what_was_asked(server: str, connection: Connection) -> None:
    """One request is counted once, whatever became of it."""
    sent = [
        post({"text": "Koch"}), post({}), post(b"{"), post({}, content_type="text/plain"),
        post({}, key=""), Sent("GET", b"/nowhere"), Sent("PUT", b"/classify"), get("/model"),
    ]  # fmt: skip
    before = _counted(server)
    for one in sent:
        connection.ask(one)
    # A request for the metrics is not yet in its own answer; the one before is.
    assert _counted(server) - before == len(sent) + 1


def _counted(address: str) -> float:
    lines = httpx.get(f"{address}/metrics").text.splitlines()
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith("doppelkopf_requests_total{")
    )
