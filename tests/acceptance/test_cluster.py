"""A cluster of three nodes under load: a node dies, and checkpoints are rolled out.

The answers themselves are checked by the tests of one machine, which also run against a cluster
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
BACK_SECONDS = 180
"""Limit of the seconds from a node's death to the full rate; only a hang takes longer.

New processes that import torch take most of the time. The measured figures are in
`tests/measurements/results`.
"""


@dataclass
class ClusterUnderTest:
    """Three nodes: a head with the proxy, and two with replicas of both deployments."""

    address: str
    process: Popen[bytes]
    log: Path
    labels: dict[str, dict[str, tuple[str, ...]]]
    """The labels by revision and head."""

    def signal(self, number: int, event: str) -> float:
        """Send a signal to `tests.support.serve_cluster` and wait until it has logged the event.

        Returns:
            The time by `time.monotonic`.
        """
        before = self.log.read_text(encoding="utf-8").count(event)
        self.process.send_signal(number)
        wait_until(lambda: self.log.read_text(encoding="utf-8").count(event) > before, seconds=60)
        return time.monotonic()

    def check(self, done: BusyClients) -> None:
        """Check that each ad got one answer, with the labels for its length and model."""
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
) -> Iterator[ClusterUnderTest]:
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
            yield ClusterUnderTest(*running, log, labels)


def test_metrics_name_each_replica_and_add_up(
    cluster: ClusterUnderTest,
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


def test_no_ad_is_lost_when_a_node_dies(cluster: ClusterUnderTest) -> None:
    with busy_clients(cluster.address, CLIENTS) as clients:
        wait_until(lambda: len(clients.answered) > 150, seconds=60)
        rate = clients.rate(time.monotonic())
        killed = cluster.signal(signal.SIGUSR1, "tests: killed a node")
        wait_until(
            lambda: clients.recovery_seconds(killed, rate) is not None,
            seconds=BACK_SECONDS + RATE_WINDOW,
        )
    cluster.check(clients)


def test_no_request_fails_while_a_checkpoint_is_rolled_out(cluster: ClusterUnderTest) -> None:
    old, new = cluster.labels
    with busy_clients(cluster.address, CLIENTS) as clients:
        wait_until(lambda: len(clients.answered) > 40, seconds=60)
        cluster.signal(signal.SIGHUP, "tests: rolled")
        after = len(clients.answered)
        wait_until(lambda: len(clients.answered) > after + 40, seconds=60)
    cluster.check(clients)
    revisions = [answer.model.revision for _, _, answer in clients.answered]
    assert revisions[0] == old
    assert set(revisions[-20:]) == {new}
    assert HTTP.get(f"{cluster.address}/model").json()["revision"] == new


def test_damaged_checkpoint_is_not_rolled_out(cluster: ClusterUnderTest) -> None:
    served = HTTP.get(f"{cluster.address}/model").json()["revision"]
    cluster.signal(signal.SIGHUP, "tests: rolled")
    assert "the model was not replaced" in cluster.log.read_text(encoding="utf-8")
    answer = HTTP.post(f"{cluster.address}/classify", json={"text": "Koch Koch"})
    assert ClassifyResponse.model_validate(answer.json()).model.revision == served
