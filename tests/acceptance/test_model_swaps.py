"""Hot swaps of the checkpoint under load, with one process and with several."""

import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.conftest import HEADS, OTHER_HEADS
from tests.support.faulty_server import FaultyServer, faulty_server
from tests.support.polling import wait_until
from tests.support.server_process import HTTP

pytestmark = pytest.mark.server

KEY = "an-operators-own-key"
LABELS = {
    name: {head: set(one.labels) for head, one in heads.items()}
    for name, heads in (("tiny", HEADS), ("other", OTHER_HEADS))
}
CALLERS = 8


@pytest.fixture(scope="module")
def store(tiny_folder: Path, other_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with two checkpoints and a damaged one."""
    store = tmp_path_factory.mktemp("swaps") / "store"
    for folder in (tiny_folder, other_folder):
        shutil.copytree(folder, store / folder.name)
    shutil.copytree(other_folder, store / "damaged")
    weights = store / "damaged" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    return store


@pytest.fixture(scope="module", params=["1", "2"], ids=lambda count: f"{count} workers")
def server(
    request: pytest.FixtureRequest, store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultyServer]:
    set_current(store, "tiny")
    options = {"workers": request.param, "threads": "1", "admin_keys": KEY}
    folder = tmp_path_factory.mktemp("swaps")
    with faulty_server(store / "current", folder, **options) as server:
        yield server
        assert server.process.poll() is None
    assert server.process.returncode == 0
    assert "Traceback" not in server.log.read_text(encoding="utf-8")


def set_current(store: Path, name: str) -> None:
    """Let the link `current` point to another checkpoint, atomically."""
    (store / "next").symlink_to(name)
    (store / "next").replace(store / "current")


def swap(server: FaultyServer, **body: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {KEY}"}
    return HTTP.post(f"{server.address}/admin/model", json=body, headers=headers)


def served_name(server: FaultyServer) -> str:
    """Return the model's name over a new connection, which any front end may accept."""
    with httpx.Client(verify=False, timeout=60) as client:  # noqa: S501  plain HTTP
        name: str = client.get(f"{server.address}/model").json()["name"]
        return name


def consistent(answer: dict) -> bool:
    """Whether an answer has only labels of the model that it names."""
    return all(
        {one["label"] for one in answer[head]["top"]} <= labels
        for head, labels in LABELS[answer["model"]["name"]].items()
    )


class ContinuousCallers:
    """Context in which threads classify single ads and batches without a pause.

    `names` counts answers by the model's name; `mixed` has answers with labels of another model, or
    from batches that two models answered.
    """

    def __init__(self, server: FaultyServer) -> None:
        self._server, self._end = server, threading.Event()
        self.statuses: Counter[int] = Counter()
        self.names: Counter[str] = Counter()
        self.mixed: list[dict] = []

    def __enter__(self) -> "ContinuousCallers":
        self._pool = ThreadPoolExecutor(CALLERS)
        self._calls = [self._pool.submit(self._ask, number) for number in range(CALLERS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for call in self._calls:
            call.result()
        self._pool.shutdown()

    def _ask(self, number: int) -> None:
        ad = {"text": "Koch für die Küche mit Speisen und Menüs " * (1 + number % 3)}
        with httpx.Client(base_url=self._server.address, verify=False, timeout=60) as client:  # noqa: S501
            while not self._end.is_set():
                if number % 4:
                    answer = client.post("/classify", json=ad)
                    found = [answer.json()]
                else:
                    answer = client.post("/classify/batch", json={"ads": [ad] * 5})
                    found = answer.json().get("results", [])
                self.statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    self.names.update(one["model"]["name"] for one in found)
                    self.mixed += [one for one in found if not consistent(one)]
                    self.mixed += found[1:] if len({str(one["model"]) for one in found}) > 1 else []


def test_swaps_under_load_lose_no_request_and_mix_no_labels(server):
    with ContinuousCallers(server) as callers:
        for name in ("other", "tiny", "other"):
            wait_until(lambda: callers.names.total() > 40, seconds=30)
            answer = swap(server, model=name)
            assert answer.status_code == 200, answer.text
            assert answer.json()["new"]["name"] == name
            # New connections get the new model.
            assert {served_name(server) for _ in range(8)} == {name}
            callers.names.clear()
        wait_until(lambda: callers.names.total() > 40, seconds=30)
    assert set(callers.statuses) == {200}
    assert not callers.mixed
    # Requests from before the last swap have been answered.
    assert callers.names["other"] > callers.names["tiny"]


def test_metrics_describe_only_the_new_model(server):
    swap(server, model="tiny")
    swap(server, model="other")
    shown = HTTP.get(f"{server.address}/metrics").text
    infos = [line for line in shown.splitlines() if line.startswith("doppelkopf_model_info{")]
    assert len(infos) == 1
    assert 'name="other"' in infos[0]
    assert 'head="job_category",label="garden"' in shown
    assert server.metric("swaps_total", result="ok") >= 2
    assert server.metric("last_swap_timestamp_seconds") > 1.7e9


def test_damaged_checkpoint_is_refused_and_the_old_one_stays(server):
    before, refused = served_name(server), server.metric("swaps_total", result="refused")
    answer = swap(server, model="damaged")
    assert (answer.status_code, answer.json()["title"]) == (422, "Checkpoint refused")
    assert "model.safetensors is damaged" in answer.json()["detail"]
    assert swap(server, model="none").status_code == 422
    assert swap(server, model="../tiny").status_code == 422
    assert served_name(server) == before
    assert HTTP.post(f"{server.address}/classify", json={"text": "Koch"}).status_code == 200
    assert server.metric("swaps_total", result="refused") == refused + 2


def test_sighup_serves_the_checkpoint_behind_the_link(server, store):
    name = "tiny" if served_name(server) == "other" else "other"
    set_current(store, name)
    with ContinuousCallers(server) as callers:
        os.kill(server.process.pid, signal.SIGHUP)
        wait_until(lambda: served_name(server) == name, seconds=30)
        wait_until(lambda: callers.names[name] > 40, seconds=30)
    assert set(callers.statuses) == {200}
    assert not callers.mixed


def test_sighup_for_a_damaged_checkpoint_logs_one_sentence(server, store):
    before = served_name(server)
    set_current(store, "damaged")
    os.kill(server.process.pid, signal.SIGHUP)
    message = "the model was not replaced: "
    wait_until(lambda: message in server.log.read_text(encoding="utf-8"), seconds=30)
    set_current(store, before)
    assert served_name(server) == before


def test_simultaneous_swaps_get_409_but_one(server):
    name = "tiny" if served_name(server) == "other" else "other"
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: swap(server, model=name), range(6)))
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) <= {200, 409}
    assert statuses[409] >= 1
    assert sum(answer.status_code == 200 and answer.json()["changed"] for answer in answers) == 1
    assert served_name(server) == name


def test_replaced_front_end_serves_the_current_model(server):
    import psutil

    name = served_name(server)
    children = psutil.Process(server.process.pid).children()
    workers = [one for one in children if "app.serving.workers.frontend" in one.cmdline()]
    if not workers:
        pytest.skip("one process has no front ends")
    workers[0].kill()

    def replaced() -> bool:
        try:
            return server.metric("worker_restarts_total") == 1
        except httpx.TransportError:  # the killed front end had the connection
            return False

    wait_until(replaced, seconds=30)
    wait_until(lambda: len({served_name(server) for _ in range(8)}) == 1, seconds=30)
    assert {served_name(server) for _ in range(8)} == {name}
    other = "tiny" if name == "other" else "other"
    assert swap(server, model=other).status_code == 200
    assert {served_name(server) for _ in range(8)} == {other}
