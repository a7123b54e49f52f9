"""A cluster of three nodes under load: one dies, and a checkpoint is rolled out.

What a cluster answers is for the suites of one machine to say, which run against it as well
(`make test-marked`).
"""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.client import ClassifyResponse
from app.model.checkpoint import open_checkpoint
from tests.support.busy_clients import RATE_WINDOW, BusyClients, busy_clients
from tests.support.polling import wait_until
from tests.support.server_process import HTTP, metric, running_process

pytestmark = pytest.mark.server

CLIENTS = 12
SECONDS_A_TOKEN = 0.008
BACK_SECONDS = 60
"""From a node's death to the full rate, on two busy cores: what is stated is what it takes there,
see `tests/measurements/results`; most of it are new processes that import torch."""


@dataclass
class Cluster:
    """Three nodes: a head with the proxy, and two with replicas of both deployments."""

    address: str
    process: Popen[bytes]
    log: Path
    labels: dict[str, dict[str, tuple[str, ...]]]
    """Of each revision, by head."""

    def signal(self, number: int, event: str) -> float:
        """Let the cluster do something; return when it was done."""
        before = self.log.read_text(encoding="utf-8").count(event)
        self.process.send_signal(number)
        wait_until(lambda: self.log.read_text(encoding="utf-8").count(event) > before, seconds=60)
        return time.monotonic()

    def check(self, done: BusyClients) -> None:
        """Assert that each ad was answered once, as its length and the answering model have it."""
        assert not done.failed
        assert len(done.answered) == done.sent
        for _, words, answer in done.answered:
            labels = self.labels[answer.model.revision]
            assert answer.job_category.label == _expected(labels["job_category"], words)
            assert answer.min_education.label == _expected(labels["min_education"], words)


def _expected(labels: tuple[str, ...], words: int) -> str:
    return labels[(words + 2) % len(labels)]


@pytest.fixture(scope="module")
def cluster(
    tiny_folder: Path, other_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    damaged = folder / "damaged"
    damaged.mkdir()
    models = [tiny_folder, other_folder, damaged]
    command = (
        "tests.support.serve_cluster",
        "tests.support.fixed_time_engine:FixedTimeEngine",
        str(SECONDS_A_TOKEN),
    )
    labels = {}
    for model in models[:2]:
        checkpoint = open_checkpoint(model)
        labels[checkpoint.revision] = {name: head.labels for name, head in checkpoint.heads.items()}
    log = folder / "log"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TESTS_WORKERS", "2")
        environment.setenv("TESTS_REPLICAS", "2")
        environment.setenv("TESTS_MODELS", os.pathsep.join(map(str, models)))
        with running_process(tiny_folder, log, command, max_batch_tokens="16") as running:
            yield Cluster(*running, log, labels)


def test_each_replica_tells_its_own_metrics_and_the_sum_is_that_of_one_machine(
    cluster: Cluster,
) -> None:
    before = metric(cluster.address, "batch_ads_sum")
    for _ in range(12):
        assert httpx.post(f"{cluster.address}/classify", json={"text": "Koch"}).status_code == 200
    assert metric(cluster.address, "batch_ads_sum") == before + 12
    text = HTTP.get(f"{cluster.address}/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    ready = families["doppelkopf_ready"].samples
    assert [sample.value for sample in ready] == [1, 1]
    assert len({sample.labels["replica"] for sample in ready}) == 2


def test_a_node_dies_and_no_ad_is_lost(cluster: Cluster) -> None:
    with busy_clients(cluster.address, CLIENTS) as asked:
        wait_until(lambda: len(asked.answered) > 150, seconds=60)
        rate = asked.rate(time.monotonic())
        killed = cluster.signal(signal.SIGUSR1, "tests: killed a node")
        wait_until(
            lambda: asked.recovery_seconds(killed, rate) is not None,
            seconds=BACK_SECONDS + RATE_WINDOW,
        )
    cluster.check(asked)


def test_a_checkpoint_is_rolled_out_and_no_request_fails(cluster: Cluster) -> None:
    old, new = cluster.labels
    with busy_clients(cluster.address, CLIENTS) as asked:
        wait_until(lambda: len(asked.answered) > 40, seconds=60)
        cluster.signal(signal.SIGHUP, "tests: rolled")
        after = len(asked.answered)
        wait_until(lambda: len(asked.answered) > after + 40, seconds=60)
    cluster.check(asked)
    revisions = [answer.model.revision for _, _, answer in asked.answered]
    assert revisions[0] == old
    assert set(revisions[-20:]) == {new}
    assert HTTP.get(f"{cluster.address}/model").json()["revision"] == new


def test_a_damaged_checkpoint_is_refused_and_the_old_one_goes_on(cluster: Cluster) -> None:
    served = HTTP.get(f"{cluster.address}/model").json()["revision"]
    cluster.signal(signal.SIGHUP, "tests: rolled")
    assert "the model was not replaced" in cluster.log.read_text(encoding="utf-8")
    answer = HTTP.post(f"{cluster.address}/classify", json={"text": "Koch Koch"})
    assert ClassifyResponse.model_validate(answer.json()).model.revision == served
