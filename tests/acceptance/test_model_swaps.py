"""Real servers take another checkpoint while they are asked: of one process, and of several."""

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
    """A store of both, a damaged one, and a link that is served at first."""
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
    lead(store, "tiny")
    options = {"workers": request.param, "threads": "1", "admin_keys": KEY}
    folder = tmp_path_factory.mktemp("swaps")
    with faulty_server(store / "current", folder, **options) as server:
        yield server
        assert server.process.poll() is None
    assert server.process.returncode == 0
    assert "Traceback" not in server.log.read_text(encoding="utf-8")


def lead(store: Path, name: str) -> None:
    """Let the link lead to another folder, at once."""
    (store / "next").symlink_to(name)
    (store / "next").replace(store / "current")


def swap(server: FaultyServer, **body: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {KEY}"}
    return HTTP.post(f"{server.address}/admin/model", json=body, headers=headers)


def served(server: FaultyServer) -> str:
    """Ask as a newcomer, who may come to any front end."""
    with httpx.Client(verify=False, timeout=60) as client:  # noqa: S501  plain HTTP
        name: str = client.get(f"{server.address}/model").json()["name"]
        return name


def consistent(answer: dict) -> bool:
    """Tell whether an answer has the labels of the model that it names."""
    return all(
        {one["label"] for one in answer[head]["top"]} <= labels
        for head, labels in LABELS[answer["model"]["name"]].items()
    )


class Callers:
    """Ask without a pause, singly and in batches, until told to stop."""

    def __init__(self, server: FaultyServer) -> None:
        self._server, self._end = server, threading.Event()
        self.statuses: Counter[int] = Counter()
        self.names: Counter[str] = Counter()
        self.mixed: list[dict] = []

    def __enter__(self) -> "Callers":
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
    with Callers(server) as callers:
        for name in ("other", "tiny", "other"):
            wait_until(lambda: callers.names.total() > 40, seconds=30)
            answer = swap(server, model=name)
            assert answer.status_code == 200, answer.text
            assert answer.json()["new"]["name"] == name
            # Whoever asks now gets the new one.
            assert {served(server) for _ in range(8)} == {name}
            callers.names.clear()
        wait_until(lambda: callers.names.total() > 40, seconds=30)
    assert set(callers.statuses) == {200}
    assert not callers.mixed
    # What was asked for before the last swap has long been answered.
    assert callers.names["other"] > callers.names["tiny"]


def test_the_metrics_tell_of_the_new_one_alone(server):
    swap(server, model="tiny")
    swap(server, model="other")
    shown = HTTP.get(f"{server.address}/metrics").text
    infos = [line for line in shown.splitlines() if line.startswith("doppelkopf_model_info{")]
    assert len(infos) == 1
    assert 'name="other"' in infos[0]
    assert 'head="job_category",label="garden"' in shown
    assert server.metric("swaps_total", result="ok") >= 2
    assert server.metric("last_swap_timestamp_seconds") > 1.7e9


def test_a_damaged_one_is_refused_and_the_old_one_goes_on(server):
    before, refused = served(server), server.metric("swaps_total", result="refused")
    answer = swap(server, model="damaged")
    assert (answer.status_code, answer.json()["title"]) == (422, "Checkpoint refused")
    assert "model.safetensors is damaged" in answer.json()["detail"]
    assert swap(server, model="none").status_code == 422
    assert swap(server, model="../tiny").status_code == 422
    assert served(server) == before
    assert HTTP.post(f"{server.address}/classify", json={"text": "Koch"}).status_code == 200
    assert server.metric("swaps_total", result="refused") == refused + 2


def test_a_signal_serves_what_the_link_leads_to_by_now(server, store):
    name = "tiny" if served(server) == "other" else "other"
    lead(store, name)
    with Callers(server) as callers:
        os.kill(server.process.pid, signal.SIGHUP)
        wait_until(lambda: served(server) == name, seconds=30)
        wait_until(lambda: callers.names[name] > 40, seconds=30)
    assert set(callers.statuses) == {200}
    assert not callers.mixed


def test_a_signal_for_a_damaged_one_leaves_one_sentence(server, store):
    before = served(server)
    lead(store, "damaged")
    os.kill(server.process.pid, signal.SIGHUP)
    said = "the model was not replaced: "
    wait_until(lambda: said in server.log.read_text(encoding="utf-8"), seconds=30)
    lead(store, before)
    assert served(server) == before


def test_of_two_at_once_one_is_refused(server):
    name = "tiny" if served(server) == "other" else "other"
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: swap(server, model=name), range(6)))
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) <= {200, 409}
    assert statuses[409] >= 1
    assert sum(answer.status_code == 200 and answer.json()["changed"] for answer in answers) == 1
    assert served(server) == name


def test_a_front_end_that_is_replaced_serves_the_new_one(server):
    import psutil

    name = served(server)
    children = psutil.Process(server.process.pid).children()
    workers = [one for one in children if "app.serving.workers.frontend" in one.cmdline()]
    if not workers:
        pytest.skip("one process has no front ends")
    workers[0].kill()

    def replaced() -> bool:
        try:
            return server.metric("worker_restarts_total") == 1
        except httpx.TransportError:  # it was asked itself
            return False

    wait_until(replaced, seconds=30)
    wait_until(lambda: len({served(server) for _ in range(8)}) == 1, seconds=30)
    assert {served(server) for _ in range(8)} == {name}
    other = "tiny" if name == "other" else "other"
    assert swap(server, model=other).status_code == 200
    assert {served(server) for _ in range(8)} == {other}
