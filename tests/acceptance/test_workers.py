"""Real processes of `--workers`: front ends with one engine process, and how each may end."""

import asyncio
import json
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import httpx
import psutil
import pytest

from app.bench.http_client import LOST, ConnectionPool, HttpReply, classify_request
from tests.support.application import InProcessApp
from tests.support.faulty_engine import BROKEN, HANGS, HELD, text_of_tokens
from tests.support.faulty_server import FaultyServer, faulty_server
from tests.support.polling import wait_until
from tests.support.server_process import HTTP, free_port, start_server, startup_error

pytestmark = pytest.mark.server


def processes(supervisor: int, module: str) -> list[psutil.Process]:
    """Return the child processes of a supervisor that run a module."""
    found = []
    for child in psutil.Process(supervisor).children():
        try:
            if module in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:  # it has just ended
            continue
    return found


def workers(server: FaultyServer) -> list[psutil.Process]:
    return processes(server.process.pid, "app.serving.workers.frontend")


def engine(server: FaultyServer) -> psutil.Process:
    [one] = processes(server.process.pid, "app.serving.workers.engine_process")
    return one


def new_client(server: FaultyServer) -> httpx.Client:
    """Return a client with a new connection, which any front end may accept."""
    return httpx.Client(base_url=server.address, verify=False, timeout=60)  # noqa: S501  as HTTP


def probe(server: FaultyServer, path: str) -> int:
    """Return the status of a GET request over a new connection; 0 without an answer."""
    try:
        with new_client(server) as client:
            return client.get(path).status_code
    except httpx.TransportError:
        return 0


def texts(count: int) -> list[str]:
    return [text_of_tokens(20 + number % 30) for number in range(count)]


@pytest.fixture(scope="module")
def server(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyServer]:
    folder = tmp_path_factory.mktemp("workers")
    # One thread as in the test's own process, so that answers are equal to the last bit.
    options = {"workers": "2", "threads": "1", "max_queued_ads": "60", "max_batch_ads": "30"}
    with faulty_server(tiny_folder, folder, **options) as server:
        yield server
        assert server.process.poll() is None
    assert server.process.returncode == 0
    # One test lets a batch fail.
    assert server.log.read_text(encoding="utf-8").count("Traceback") <= 1


def test_workers_answer_like_one_process(server, checkpoint):
    ads = [{"text": text} for text in texts(10)] + [{"text": "Koch", "title": "Chef"}]
    with InProcessApp(checkpoint).client() as alone:
        for path, body in [
            *(("/classify", ad) for ad in ads),
            ("/classify/batch", {"ads": [*ads, {"text": "Koch " * 500}], "top_k": 2}),
        ]:
            one = alone.post(path, json=body)
            other = HTTP.post(f"{server.address}{path}", json=body)
            assert (one.status_code, other.status_code) == (200, 200)
            assert other.json() == one.json()
            timing = re.findall(r"(\w+);dur=[\d.]+", other.headers["server-timing"])
            assert timing == ["tokenize", "queue", "batch", "total"]
        there, here = HTTP.get(f"{server.address}/model").json(), alone.get("/model").json()
        assert there["heads"] == here["heads"]
        assert there["device"] == here["device"]


def test_streams_wait_for_capacity_used_by_other_front_ends(server):
    """A front end is not notified when another front end's requests are finished."""
    ads = [{"text": text, "top_k": 1} for text in texts(30)]
    body = b"".join(json.dumps(ad).encode() + b"\n" for ad in ads)
    headers = {"content-type": "application/x-ndjson"}
    heads = Barrier(7)

    def stream(_: int) -> list[dict]:
        with (
            new_client(server) as client,
            client.stream("POST", "/classify/stream", content=body, headers=headers) as answer,
        ):
            assert answer.status_code == 200
            heads.wait(20)
            return [json.loads(line) for line in answer.iter_lines()]

    before = server.metric("stream_lines_total", status="200")
    [held] = server.send_behind_held()
    with ThreadPoolExecutor(7) as pool:
        batch = pool.submit(
            HTTP.post, f"{server.address}/classify/batch", json={"ads": [{"text": "Koch"}] * 30}
        )
        # More than half of the capacity of 60 ads, so streams wait.
        wait_until(lambda: server.metric("queued_ads") == 31, seconds=20)
        running = [pool.submit(stream, number) for number in range(6)]
        heads.wait(20)
        assert server.metric("stream_lines_total", status="200") == before
        assert server.metric("queued_ads") == 31
        server.release()
        assert batch.result().status_code == held.result().status_code == 200
        for answers in (one.result(timeout=30) for one in running):
            assert [line["line"] for line in answers] == list(range(1, 31))
            assert all("job_category" in line for line in answers)
    assert server.metric("stream_lines_total", status="200") == before + 180
    assert server.metric("queued_ads") == server.metric("queued_tokens") == 0


def test_front_ends_do_not_load_torch(server):
    for worker in workers(server):
        files = [Path(one.path).name for one in worker.memory_maps()]
        assert any(name.startswith("httptools") or "tokenizers" in name for name in files)
        assert not [name for name in files if "torch" in name]


def test_metrics_are_summed_over_front_ends(server):
    before = server.metric("requests_total", route="/classify", status="200")
    predicted = server.metric("confidence_count", head="job_category")
    lines = server.log.read_text(encoding="utf-8")

    def ask(text: str) -> int:
        with new_client(server) as client:
            return client.post("/classify", json={"text": text}).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, texts(200))) == {200}
    # Any front end may answer.
    for _ in range(6):
        with new_client(server) as client:
            scraped = client.get("/metrics").text
        total = 'doppelkopf_requests_total{route="/classify",status="200"} '
        assert f"{total}{before + 200}" in scraped
        assert f'doppelkopf_confidence_count{{head="job_category"}} {predicted + 200}' in scraped
        assert "doppelkopf_ready 1.0" in scraped
        assert "doppelkopf_queued_ads 0.0" in scraped
        assert "doppelkopf_queued_seconds 0.0" in scraped
        assert "pid=" not in scraped
        named = set(re.findall(r'process_resident_memory_bytes\{process="([\w-]+)"\}', scraped))
        assert named == {"supervisor", "engine-0", "worker-0", "worker-1"}
    written = server.log.read_text(encoding="utf-8").removeprefix(lines)
    by = Counter(re.findall(r"route=/classify .*process=(worker-\d)", written))
    assert min(by["worker-0"], by["worker-1"]) > 20


def test_workers_expose_every_metric_of_one_process(server, checkpoint):
    with InProcessApp(checkpoint).client() as alone:
        wanted = {
            line.rsplit(" ", 1)[0]
            for line in alone.get("/metrics").text.splitlines()
            if line.startswith("doppelkopf_")
        }
    lines = HTTP.get(f"{server.address}/metrics").text.splitlines()
    found = {line.rsplit(" ", 1)[0] for line in lines}
    assert {re.sub(r"[{].*", "", name) for name in wanted - found} == set()
    assert wanted - found == set()
    assert "doppelkopf_worker_restarts_total" in found


def test_abandoned_and_expired_ads_never_run(server):
    ran = server.metric("batch_ads_sum")
    [held] = server.send_behind_held()
    raw = classify_request({"text": text_of_tokens(20)})
    with server.connection() as leaving:
        leaving.sendall(raw)
        wait_until(lambda: server.metric("queued_ads") == 2, seconds=20)
    wait_until(lambda: server.metric("queued_ads") == 1, seconds=20)
    late = server.send(20, **{"X-Request-Timeout-Ms": "200"})
    assert late.status_code == 504
    wait_until(lambda: server.metric("queued_ads") == 1, seconds=20)
    server.release()
    assert held.result().status_code == 200
    assert server.send(21).status_code == 200
    assert server.metric("batch_ads_sum") - ran == 2


def test_failed_batch_is_logged_with_its_request_ids(server):
    answer = server.send(BROKEN, **{"X-Request-Id": "job-of-the-test"})
    assert answer.status_code == 500
    assert "a batch of 1 ads failed; requests job-of-the-test" in server.log.read_text("utf-8")
    assert server.metric("engine_failures_total", kind="batch") == 1


def test_queue_limit_holds_over_all_front_ends(server):
    async def main() -> list[HttpReply]:
        links = ConnectionPool(server.address)
        request = classify_request({"text": text_of_tokens(40)})
        waiting = [asyncio.create_task(links.send(request)) for _ in range(200)]
        while sum(one.done() for one in waiting) < 100:  # noqa: ASYNC110  another process
            await asyncio.sleep(0.01)
        server.release()
        replies = await asyncio.gather(*waiting)
        links.close()
        return replies

    before = server.metric("rejected_total", reason="queue_full")
    [held] = server.send_behind_held()
    statuses = Counter(reply.status for reply in asyncio.run(main()))
    assert held.result().status_code == 200
    assert statuses.keys() == {200, 429}
    # Front ends may exceed the limit slightly: each checks the shared count before it adds to it.
    assert statuses[200] >= 59
    assert server.metric("rejected_total", reason="queue_full") - before == statuses[429]
    assert server.metric("queued_ads") == server.metric("queued_tokens") == 0


def test_killed_front_end_loses_only_its_requests_and_is_replaced(server):
    clients = 12

    async def client(links: ConnectionPool, stop: asyncio.Event, replies: list[HttpReply]) -> None:
        requests = [classify_request({"text": text}) for text in texts(30)]
        while not stop.is_set():
            replies.append(await links.send(requests[len(replies) % 30]))

    async def main() -> list[HttpReply]:
        links, stop, replies = ConnectionPool(server.address), asyncio.Event(), []
        running = [asyncio.create_task(client(links, stop, replies)) for _ in range(clients)]
        while len(replies) < 100:  # noqa: ASYNC110  another process
            await asyncio.sleep(0.01)
        gone.kill()
        while len(workers(server)) < 2 or gone in workers(server):  # noqa: ASYNC110  likewise
            await asyncio.sleep(0.01)
        more = len(replies) + 200
        while len(replies) < more:  # noqa: ASYNC110  likewise
            await asyncio.sleep(0.01)
        stop.set()
        await asyncio.gather(*running)
        links.close()
        return replies

    restarts = server.metric("worker_restarts_total")
    gone, stays = workers(server)
    replies = asyncio.run(main())
    statuses = Counter(reply.status for reply in replies)
    assert statuses.keys() <= {200, LOST}
    assert statuses[LOST] <= clients
    assert stays in workers(server)
    assert server.metric("worker_restarts_total") == restarts + 1
    wait_until(lambda: server.metric("ready") == 1, seconds=20)
    assert {probe(server, "/health/ready") for _ in range(8)} == {200}
    # Its waiting ads are no longer counted, and its totals remain.
    assert server.metric("queued_ads") == server.metric("queued_tokens") == 0
    assert server.metric("requests_total", route="/classify", status="200") >= statuses[200]


def test_ads_of_a_dead_front_end_are_dropped(server):
    restarts, ran = server.metric("worker_restarts_total"), server.metric("batch_ads_sum")
    calls = server.send_behind_held(20, 21)
    for worker in workers(server):
        worker.kill()
    for call in calls:
        assert isinstance(call.exception(), httpx.TransportError)
    # New connections wait until the replaced front ends can answer.
    assert {probe(server, "/health/ready") for _ in range(8)} == {200}
    wait_until(lambda: server.metric("ready") == 1, seconds=20)
    assert server.metric("worker_restarts_total") == restarts + 2
    assert server.metric("queued_ads") == server.metric("queued_tokens") == 0
    assert server.metric("queued_seconds") == 0
    server.release()
    assert server.send(22).status_code == 200
    # The held ad and the last one.
    assert server.metric("batch_ads_sum") - ran == 2


def test_two_engines_share_the_work(tiny_folder, tmp_path):
    options = {"workers": "2", "engine": "TwinEngine"}
    with faulty_server(tiny_folder, tmp_path, **options) as server:
        [held] = server.send_behind_held()
        # One engine is blocked, so new ads go to the other.
        assert [server.send(20).status_code for _ in range(5)] == [200] * 5
        assert not held.done()
        assert HTTP.get(f"{server.address}/model").json()["device"] == "cpu, cpu"
        server.release()
        assert held.result().status_code == 200


def check_service_ends(server: FaultyServer, calls: list) -> None:
    """Check that all calls get 500, no front end is ready, and the service exits with 1."""
    # Well before the grace period of 30 s ends.
    wait_until(
        lambda: all(probe(server, "/health/ready") in (0, 503) for _ in range(8)), seconds=15
    )
    assert {call.result().status_code for call in calls} == {500}
    assert server.process.wait(timeout=20) == 1
    assert "the service ends: " in server.log.read_text(encoding="utf-8")


def test_killed_engine_process_ends_the_service(tiny_folder, tmp_path):
    with faulty_server(tiny_folder, tmp_path, workers="2", max_batch_tokens="20") as server:
        calls = server.send_behind_held(20, 21, 22)
        children = [*workers(server), engine(server)]
        children[-1].kill()
        check_service_ends(server, calls)
    assert not psutil.wait_procs(children, timeout=20)[1]


def test_hanging_engine_ends_the_service(tiny_folder, tmp_path):
    options = {"workers": "2", "hang_seconds": "1", "max_batch_tokens": "20"}
    with faulty_server(tiny_folder, tmp_path, **options) as server:
        held, *others = server.send_behind_held(HANGS, 20, 20)
        server.release()
        assert held.result().status_code == 200
        assert {one.result().status_code for one in others} == {500}
        check_service_ends(server, others)
        assert "does not come back" in server.log.read_text(encoding="utf-8")


def signal_all(server: FaultyServer, number: int) -> None:
    """Send a signal to every process, like a terminal or a cgroup."""
    for one in [*workers(server), engine(server)]:
        one.send_signal(number)
    server.process.send_signal(number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_all_processes_shuts_down_gracefully(tiny_folder, tmp_path, number):
    with faulty_server(tiny_folder, tmp_path, workers="2") as server:
        ad = {"text": text_of_tokens(20)}
        with httpx.Client(base_url=server.address, timeout=30) as open_before:
            assert open_before.post("/classify", json=ad).status_code == 200
            accepted = server.send_behind_held(20, 21)
            signal_all(server, number)
            wait_until(
                lambda: all(probe(server, "/health/ready") == 503 for _ in range(8)), seconds=15
            )
            refused = open_before.post("/classify", json=ad)
            assert refused.status_code == 503
            assert "shutting down" in refused.json()["detail"]
        assert probe(server, "/health/live") == 200
        server.release()
        assert [call.result().status_code for call in accepted] == [200, 200, 200]
        assert server.process.wait(timeout=20) == 0
    assert "Traceback" not in server.log.read_text(encoding="utf-8")


def test_grace_period_and_second_signal_end_all_processes(tiny_folder, tmp_path):
    options = {"workers": "2", "grace_seconds": "0.5", "max_batch_tokens": "20"}
    with faulty_server(tiny_folder, tmp_path, **options) as server:
        held, waiting = server.send_behind_held(20)
        children = [*workers(server), engine(server)]
        signal_all(server, signal.SIGTERM)
        assert waiting.result().status_code == 503
        assert not held.done()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=20) == 128 + signal.SIGTERM
        assert isinstance(held.exception(), httpx.TransportError)
        assert not psutil.wait_procs(children, timeout=20)[1]


def test_killed_supervisor_leaves_no_process_and_no_file(tiny_folder, tmp_path):
    with faulty_server(tiny_folder, tmp_path, workers="2") as server:
        held = server.pool.submit(server.send, HELD)
        wait_until(lambda: server.metric("queue_seconds_count") == 1, seconds=20)
        children = [*workers(server), engine(server)]
        folders = {
            Path(one.path).parent
            for one in children[0].memory_maps()
            if Path(one.path).name == "counters"
        }
        assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700]
        server.process.kill()
        assert not psutil.wait_procs(children, timeout=20)[1]
        assert isinstance(held.exception(), httpx.TransportError)
        assert not any(folder.exists() for folder in folders)


def test_bad_checkpoint_or_device_ends_the_start_with_one_sentence(tiny_folder, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_folder, damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "model.safetensors" in startup_error(damaged, tmp_path / "log", workers="2")
    assert "DEVICE" in startup_error(tiny_folder, tmp_path / "log", workers="2", device="abacus")


def test_front_ends_that_keep_ending_end_the_service(tiny_folder, tmp_path):
    log = tmp_path / "log"
    process = start_server(tiny_folder, log, free_port(), workers="2")
    while process.poll() is None:
        for one in processes(process.pid, "app.serving.workers.frontend"):
            one.kill()
        time.sleep(0.01)
    assert process.returncode == 1
    last = log.read_text(encoding="utf-8").strip().splitlines()[-1]
    assert last.startswith("Front ends ended 5 times within 30 s before they could answer")
