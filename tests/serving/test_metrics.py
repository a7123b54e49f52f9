import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.types import LabelProbability, ModelIdentity, Prediction
from app.serving.metrics import MULTIPROCESS_FOLDER, Metrics
from tests.docs.pages import PAGES


def prediction(truncated=False):
    return Prediction(
        ModelIdentity("m", "1"),
        heads={
            "job_category": (LabelProbability("a", 0.8), LabelProbability("b", 0.2)),
            "min_education": (LabelProbability("x", 0.6),),
        },
        tokens=3,
        windows=1,
        truncated=truncated,
    )


def test_a_prediction_counts_its_best_labels_and_their_probability():
    metrics = Metrics()
    metrics.record_prediction(prediction())
    metrics.record_prediction(prediction(truncated=True))
    value = metrics.registry.get_sample_value
    assert value("doppelkopf_predictions_total", {"head": "job_category", "label": "a"}) == 2
    assert value("doppelkopf_predictions_total", {"head": "job_category", "label": "b"}) is None
    assert value("doppelkopf_confidence_sum", {"head": "min_education"}) == 1.2
    assert value("doppelkopf_truncated_total") == 1


def test_two_services_do_not_share_metrics():
    first, second = Metrics(), Metrics()
    first.truncated.inc()
    assert second.registry.get_sample_value("doppelkopf_truncated_total") == 0


@pytest.fixture
def status(tmp_path) -> Path:
    """The file of a supervisor with one other process."""
    file = tmp_path / "status"
    processes = {"supervisor": os.getpid(), "worker-0": os.getppid()}
    file.write_text(json.dumps({"processes": processes, "restarts": 3}))
    return file


def test_every_metric_is_documented(status):
    page = PAGES["docs/operations.md"].text
    for family in Metrics(status=status).registry.collect():
        assert f"`{family.name}" in page, f"the page does not mention {family.name}"


def test_process_metrics_have_one_series_for_each_process(status):
    value = Metrics(status=status).registry.get_sample_value
    memory = [
        value("process_resident_memory_bytes", {"process": name})
        for name in ("supervisor", "worker-0")
    ]
    assert all(memory)
    assert memory[0] != memory[1]
    assert value("doppelkopf_worker_restarts_total") == 3


WRITE_METRICS = """
import sys
from pathlib import Path
from app.serving.metrics import Metrics
from app.core.types import LabelProbability, ModelIdentity, Prediction

number = int(sys.argv[2])
metrics = Metrics(status=Path(sys.argv[1]))
metrics.expect_routes([("/classify", (200, 429))])
metrics.queued_ads.set(number)
metrics.ready.set(number > 1)
metrics.max_queue_seconds.set(10)
metrics.batch_ads.observe(number)
metrics.requests.labels("/classify", "200").inc(number)
metrics.sample(metrics.queued_seconds, lambda: 7.5)
metrics.set_model("demo", "1", "cpu", "float32")
metrics.set_model("demo", "2", "cpu", "float32")
metrics.count_swap("ok")
if number > 1:
    print(metrics.exposition().decode())
"""


def test_the_metrics_of_several_processes_are_merged(status, tmp_path):
    folder = tmp_path / "metrics"
    folder.mkdir()
    for number in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", WRITE_METRICS, str(status), number],
            env={**os.environ, MULTIPROCESS_FOLDER: str(folder)},
            capture_output=True,
            text=True,
            check=True,
        )
    lines = done.stdout.splitlines()
    for line in (
        'doppelkopf_requests_total{route="/classify",status="200"} 3.0',
        'doppelkopf_requests_total{route="/classify",status="429"} 0.0',
        "doppelkopf_queued_ads 3.0",
        "doppelkopf_queued_seconds 7.5",
        "doppelkopf_max_queue_seconds 10.0",
        "doppelkopf_ready 0.0",
        "doppelkopf_batch_ads_sum 3.0",
        'doppelkopf_batch_ads_bucket{le="1.0"} 1.0',
        'doppelkopf_batch_ads_bucket{le="2.0"} 2.0',
        "doppelkopf_batch_ads_count 2.0",
        "doppelkopf_worker_restarts_total 3.0",
        "# HELP doppelkopf_queued_ads Ads admitted and not yet answered",
        'doppelkopf_swaps_total{result="ok"} 2.0',
    ):
        assert line in lines
    (info,) = (line for line in lines if line.startswith("doppelkopf_model_info{"))
    assert 'revision="2"' in info


def test_model_info_shows_the_served_checkpoint_only():
    metrics = Metrics()
    for revision in ("1", "1", "2"):
        metrics.set_model("demo", revision, "cpu", "float32")
        shown = metrics.exposition().decode().splitlines()
        (info,) = (line for line in shown if line.startswith("doppelkopf_model_info{"))
        assert f'revision="{revision}"' in info
