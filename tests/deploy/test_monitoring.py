"""Alert rules and dashboard: their metrics exist, and a real Prometheus evaluates them.

The marked tests need `prometheus` and `promtool` (Debian: prometheus).
"""

import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from app.serving.metrics import Metrics
from tests.docs.pages import PAGES
from tests.support.polling import wait_until
from tests.support.repository import ROOT, shared_ads
from tests.support.server_process import free_port, running_server

CONFIG = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text(encoding="utf-8"))
GROUPS = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARD = json.loads((GRAFANA / "doppelkopf.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
NEEDS_A_WEEK = "Drift against the week before"
NEEDS_A_SWAP = "Time since the last swap"


@pytest.fixture
def metrics(tmp_path: Path) -> Metrics:
    """The metrics of several processes, which include all metrics of one."""
    status = tmp_path / "status"
    status.write_text(json.dumps({"processes": {"supervisor": os.getpid()}, "restarts": 0}))
    return Metrics(status=status)


def test_metrics_in_rules_and_dashboard_exist(metrics):
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
    exposed = {
        family.name + suffix
        for family in metrics.registry.collect()
        for suffix in suffixes[family.type]
    }
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    expressions = [rule["expr"] for rule in RULES]
    expressions += [target["expr"] for panel in PANELS for target in panel["targets"]]
    expressions += [note["expr"] for note in DASHBOARD["annotations"]["list"]]
    expressions += [variable["query"]["query"] for variable in DASHBOARD["templating"]["list"]]
    names = set(re.findall(r"\b(?:doppelkopf|process|service)_[\w:]+", " ".join(expressions)))
    assert names - exposed - recorded == set()


def test_dashboard_shows_every_metric(metrics):
    expressions = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    for family in metrics.registry.collect():
        if family.name.startswith("doppelkopf"):
            assert family.name in expressions, f"no panel shows {family.name}"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alerts_have_a_summary_and_a_runbook(alert):
    name, annotations = alert["alert"], alert["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook"}
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert annotations["runbook"] == f"docs/runbook.md#{name.lower()}"
    assert f"\n### {name}\n" in PAGES["docs/runbook.md"].text


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alerts_have_a_test_in_which_they_fire(alert):
    tests = [
        test
        for file in ("alerts.yml", "alerts_drift.yml")
        for group in yaml.safe_load((ROOT / "tests" / "deploy" / file).read_text(encoding="utf-8"))[
            "tests"
        ]
        for test in group["alert_rule_test"]
    ]
    assert any(test["exp_alerts"] for test in tests if test["alertname"] == alert["alert"])


def test_dashboard_uses_the_provisioned_datasource():
    (source,) = yaml.safe_load((GRAFANA / "datasource.yml").read_text("utf-8"))["datasources"]
    for panel in PANELS:
        for query in (panel, *panel["targets"]):
            assert query["datasource"] == {"type": "prometheus", "uid": source["uid"]}
    assert source["jsonData"]["timeInterval"] == CONFIG["global"]["scrape_interval"]


def test_panels_have_descriptions_and_do_not_overlap():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert all(panel["description"] for panel in PANELS)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def find_program(name: str) -> str:
    """Return a program's path.

    Without it the test is skipped, or fails if REQUIRE_PROMETHEUS is set.
    """
    if path := shutil.which(name):
        return path
    message = f"the rules are tested with {name}, which is not installed"
    return pytest.fail(message) if os.environ.get("REQUIRE_PROMETHEUS") else pytest.skip(message)


@pytest.mark.prometheus
@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "config", "deploy/prometheus.yml"],
        ["test", "rules", "tests/deploy/alerts.yml", "tests/deploy/alerts_drift.yml"],
    ],
    ids=["config", "rules"],
)
def test_promtool_accepts_configuration_and_rules(arguments):
    done = subprocess.run(
        [find_program("promtool"), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def running_prometheus(folder: Path, target: str) -> Iterator[httpx.Client]:
    """Run a real Prometheus with the repository's configuration; yields a client of it.

    It scrapes one target, not containers found by name, and every second.
    """
    program, port = find_program("prometheus"), free_port()
    rules = {"groups": [{**group, "interval": "1s"} for group in GROUPS]}
    (folder / "alerts.yml").write_text(json.dumps(rules), encoding="utf-8")
    (job,) = CONFIG["scrape_configs"]
    found = {"targets": [target], "labels": {"__meta_dns_name": "api"}}
    job = {name: value for name, value in job.items() if name != "dns_sd_configs"}
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": CONFIG["rule_files"],
        "scrape_configs": [{**job, "static_configs": [found]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
    with (folder / "prometheus.log").open("wb") as output:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def ready() -> bool:
        assert process.poll() is None, (folder / "prometheus.log").read_text(encoding="utf-8")
        try:
            return client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_until(ready, seconds=60)
            yield client
    finally:
        process.terminate()
        process.wait(timeout=30)


def values(prometheus: httpx.Client, expression: str) -> list[float]:
    """Evaluate the query of a panel."""
    filled = expression.replace("$__rate_interval", "1m").replace("$service", ".*")
    answer = prometheus.get("/api/v1/query", params={"query": filled}).json()
    assert answer["status"] == "success", answer
    return [float(series["value"][1]) for series in answer["data"]["result"]]


@pytest.mark.prometheus
@pytest.mark.server
def test_real_prometheus_evaluates_rules_and_panels(tiny_folder, tmp_path):
    ads = shared_ads(20) or [{"text": "Koch für die Küche im Restaurant"}] * 20
    with running_server(tiny_folder, tmp_path / "server.log") as server:
        with running_prometheus(tmp_path, server.removeprefix("http://")) as prometheus:
            # A rate needs a sample before and one after the requests.
            wait_until(lambda: bool(values(prometheus, "doppelkopf_ready == 1")), seconds=30)
            with httpx.Client(base_url=server, timeout=60) as client:
                for ad in ads:
                    body = {"text": ad["text"], "title": ad.get("title")}
                    assert client.post("/classify", json=body).status_code == 200
                assert client.post("/classify", json={}).status_code == 422

            def answered() -> bool:
                found = values(prometheus, "sum(increase(doppelkopf_confidence_count[1m]))")
                return bool(found) and found[0] > 0

            wait_until(answered, seconds=30)
            groups = prometheus.get("/api/v1/rules").json()["data"]["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            assert len(rules) == len(RULES)
            assert {rule["health"] for rule in rules} == {"ok"}
            assert values(prometheus, 'ALERTS{alertstate="firing"}') == []
            empty = [
                (panel["title"], target["expr"])
                for panel in PANELS
                for target in panel["targets"]
                if not any(math.isfinite(value) for value in values(prometheus, target["expr"]))
            ]
    assert {title for title, _ in empty} <= {NEEDS_A_WEEK, NEEDS_A_SWAP}, empty
