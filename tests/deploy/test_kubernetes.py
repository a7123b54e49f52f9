"""The Kubernetes manifests of the service, as rendered for a cluster."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from app.core.errors import SettingsError
from app.serving.metrics import Metrics
from app.serving.server.http_connection import CLOSING_SECONDS
from app.serving.settings import PREFIX, Settings, load_settings
from tests.deploy.resource_schemas import SERVICE_MONITOR
from tests.support.application import InProcessApp
from tests.support.kustomize import (
    DOCKERFILE,
    KUBERNETES,
    README,
    RELEASES,
    ROOT,
    SWAP_MB,
    assert_least_privilege,
    mib,
    recorded_figures,
    renderer,
)

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
OVERLAYS = {"cpu": "api", "gpu": "api-gpu"}
"""Each overlay with its counterpart in the compose file."""
CHECKPOINTS = ("checkpoint-volume", "checkpoint-image")
COMPONENTS = ((), *((one,) for one in CHECKPOINTS))

ENGINE_CORES = 2
"""Cores for the engine process; see docs/scaling.md, "Several processes on one machine"."""

Documents = dict[str, dict[str, Any]]
"""The rendered manifests by kind, of which there is one each."""
Render = Callable[..., Documents]


@pytest.fixture(scope="module")
def render(tmp_path_factory) -> Render:
    rendered = renderer(tmp_path_factory.mktemp("overlay"))

    def by_kind(*overlay: str, **own: str) -> Documents:
        documents = rendered(*overlay, **own)
        assert len({one["kind"] for one in documents}) == len(documents)
        return {one["kind"]: one for one in documents}

    return by_kind


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def documents(render, overlay) -> Documents:
    return render(overlay)


@pytest.fixture(scope="module")
def pod(documents) -> dict[str, Any]:
    return documents["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod) -> dict[str, Any]:
    (only,) = pod["containers"]
    return only


@pytest.fixture(scope="module")
def settings(documents) -> Settings:
    """The settings that the service reads in a pod."""
    return load_settings(environment=container_environment(documents))


@pytest.fixture(scope="module")
def routes(checkpoint) -> set[str]:
    return InProcessApp(checkpoint, run=lambda _: []).app.openapi()["paths"].keys()


def container_environment(documents: Documents) -> dict[str, str]:
    """Return the environment of a container, with empty API keys."""
    (container,) = documents["Deployment"]["spec"]["template"]["spec"]["containers"]
    (source,) = container["envFrom"]
    settings = documents["ConfigMap"]
    assert source == {"configMapRef": {"name": settings["metadata"]["name"]}}
    return settings["data"] | {one["name"]: "" for one in container["env"]}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("components", COMPONENTS, ids=str)
def test_manifests_fit_their_schemas(render, overlay, components, release):
    documents = render(overlay, *components)
    Draft202012Validator(SERVICE_MONITOR).validate(documents.pop("ServiceMonitor"))
    assert documents.keys() == {
        "ConfigMap", "Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget",
        "NetworkPolicy",
    }  # fmt: skip
    for document in documents.values():
        kubernetes_validate.validate(document, release, strict=True)


def test_schemas_refuse_misspelt_fields(documents):
    broken = json.loads(json.dumps(documents["Deployment"]))
    broken["spec"]["template"]["spec"]["terminationGraceSeconds"] = 50
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, RELEASES[-1], strict=True)


def test_selectors_match_only_pods_of_their_overlay(render, overlay, documents):
    (other,) = OVERLAYS.keys() - {overlay}
    pods, others = (
        found["Deployment"]["spec"]["template"]["metadata"]["labels"]
        for found in (documents, render(other))
    )
    spec = {kind: document.get("spec", {}) for kind, document in documents.items()}
    (spread,) = spec["Deployment"]["template"]["spec"]["topologySpreadConstraints"]
    for selector in (
        spec["Deployment"]["selector"]["matchLabels"],
        spec["Service"]["selector"],
        spec["PodDisruptionBudget"]["selector"]["matchLabels"],
        spec["NetworkPolicy"]["podSelector"]["matchLabels"],
        spread["labelSelector"]["matchLabels"],
    ):
        assert selector.items() <= pods.items()
        assert not selector.items() <= others.items()


def test_both_overlays_can_run_in_one_namespace(render):
    one, other = map(render, OVERLAYS)
    for kind in one:
        assert one[kind]["metadata"]["name"] != other[kind]["metadata"]["name"]


def test_service_monitor_selects_its_overlay_with_the_right_job(render, overlay, documents, routes):
    (other,) = OVERLAYS.keys() - {overlay}
    spec = documents["ServiceMonitor"]["spec"]
    labels = documents["Service"]["metadata"]["labels"]
    selector = spec["selector"]["matchLabels"]
    assert selector.items() <= labels.items()
    assert not selector.items() <= render(other)["Service"]["metadata"]["labels"].items()
    prometheus = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text(encoding="utf-8"))
    assert labels[spec["jobLabel"]] == prometheus["scrape_configs"][0]["job_name"]
    (endpoint,) = spec["endpoints"]
    assert endpoint["port"] in [port["name"] for port in documents["Service"]["spec"]["ports"]]
    assert endpoint["path"] in routes


def test_ports_agree_with_settings_and_image(documents, container, settings):
    assert [one["containerPort"] for one in container["ports"]] == [settings.port]
    assert f"\nEXPOSE {settings.port}\n" in DOCKERFILE
    name = container["ports"][0]["name"]
    assert documents["Service"]["spec"]["ports"][0]["targetPort"] == name
    (rule,) = documents["NetworkPolicy"]["spec"]["ingress"]
    assert [one["port"] for one in rule["ports"]] == [name]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == name


def test_probes_use_the_health_routes(container, routes):
    paths = [
        container[f"{kind}Probe"]["httpGet"]["path"]
        for kind in ("startup", "liveness", "readiness")
    ]
    # Not readiness, because a failing probe restarts the pod while it loads.
    assert paths == ["/health/live", "/health/live", "/health/ready"]
    assert set(paths) <= routes


def test_probe_timeouts_exceed_the_measured_times(container):
    burst = max(recorded_figures("cpu", "/refusal_s/max$"))
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["timeoutSeconds"] > burst
    start = container["startupProbe"]
    slowest = max(*recorded_figures("cpu", "/ready_s$"), *recorded_figures("h100", "/ready_s$"))
    assert start["periodSeconds"] * start["failureThreshold"] > 5 * slowest


def test_termination_grace_exceeds_the_shutdown(pod, container, settings):
    hook = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert hook > 0
    # 2 CLOSING_SECONDS is the server's own timeout for connections after the grace period.
    ending = hook + settings.grace_seconds + 2 * CLOSING_SECONDS
    assert pod["terminationGracePeriodSeconds"] > ending


def test_pods_have_least_privilege(render, overlay):
    pod = render(overlay, "checkpoint-image")["Deployment"]["spec"]["template"]["spec"]
    assert_least_privilege(pod)
    assert pod["automountServiceAccountToken"] is False


@pytest.mark.parametrize("components", COMPONENTS, ids=str)
def test_writable_folders_are_those_of_compose(render, overlay, components):
    pod = render(overlay, *components)["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    writable = [
        mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")
    ]
    assert writable == COMPOSE[OVERLAYS[overlay]]["tmpfs"]


def test_service_link_variables_are_switched_off(pod, documents):
    name = documents["Service"]["metadata"]["name"].upper().replace("-", "_")
    assert name.startswith(PREFIX.rstrip("_"))
    with pytest.raises(SettingsError):
        load_settings(environment={f"{name}_PORT": "tcp://10.0.0.1:80"})
    assert pod["enableServiceLinks"] is False


def test_image_and_device_equal_those_of_compose(container, settings, overlay):
    service = COMPOSE[OVERLAYS[overlay]]
    assert container["image"] == service["image"]
    assert not container.keys() & {"command", "args"}
    assert settings.device == service["environment"]["DOPPELKOPF_DEVICE"]


def test_only_the_gpu_overlay_takes_a_card(pod, container, overlay):
    cards = container["resources"]["limits"].get("nvidia.com/gpu")
    assert cards == {"cpu": None, "gpu": "1"}[overlay]
    assert ("tolerations" in pod) == (overlay == "gpu")


def test_memory_exceeds_the_measured_peak(pod, container, settings):
    resources = container["resources"]
    (tmp,) = (one["emptyDir"] for one in pod["volumes"] if one["name"] == "tmp")
    assert tmp["medium"] == "Memory"
    place = {"cpu": ("cpu", "/rss_mb"), "cuda": ("pods", "/11 workers/host_mb/")}[settings.device]
    peak = max(recorded_figures(*place))
    assert mib(resources["requests"]["memory"]) >= peak + SWAP_MB
    assert mib(resources["limits"]["memory"]) > peak + SWAP_MB + mib(tmp["sizeLimit"])


def test_requested_cores_fit_engine_and_workers(container, settings):
    cores = int(container["resources"]["requests"]["cpu"])
    if settings.workers > 1:
        assert cores == settings.workers + ENGINE_CORES
        assert settings.workers in recorded_figures("h100", "/service/.*/workers$")
    else:
        assert cores == settings.threads
    assert "cpu" not in container["resources"]["limits"]


def test_autoscaler_grows_before_requests_are_refused(documents, settings):
    spec = documents["HorizontalPodAutoscaler"]["spec"]
    deployment = documents["Deployment"]
    assert spec["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    queue, cores = spec["metrics"]
    exposed = {family.name for family in Metrics().registry.collect()}
    assert queue["pods"]["metric"]["name"] in exposed
    assert 0 < float(queue["pods"]["target"]["averageValue"]) <= settings.max_queue_seconds / 2
    # At most 80 % of the knee are planned for (docs/scaling.md, "Load tests").
    assert cores["resource"]["target"]["averageUtilization"] <= 80


def test_at_most_one_pod_is_unavailable(documents):
    allowed = documents["PodDisruptionBudget"]["spec"]["maxUnavailable"]
    rolling = documents["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"]
    assert allowed == 1
    scaling = documents["HorizontalPodAutoscaler"]["spec"]
    assert max(allowed, rolling) < scaling["minReplicas"] < scaling["maxReplicas"]


def test_prometheus_adapter_serves_the_metric_of_the_autoscaler(documents):
    file = KUBERNETES / "monitoring" / "prometheus-adapter.yaml"
    (rule,) = yaml.safe_load(file.read_text(encoding="utf-8"))["rules"]["custom"]
    metric = documents["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]["metric"]["name"]
    assert rule["seriesQuery"].partition("{")[0] == metric
    assert "name" not in rule
    assert rule["resources"]["overrides"].keys() == {"namespace", "pod"}


def test_network_policy_admits_clients_and_prometheus_only(documents):
    spec = documents["NetworkPolicy"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["egress"] == []
    (rule,) = spec["ingress"]
    neighbours, *others = rule["from"]
    assert neighbours == {"podSelector": {}}
    # A selector without labels would match every namespace.
    assert all(one["namespaceSelector"]["matchLabels"] for one in others)


@pytest.mark.parametrize("component", CHECKPOINTS)
def test_checkpoint_components_fill_the_model_store(render, overlay, component):
    documents = render(overlay, component)
    pod = documents["Deployment"]["spec"]["template"]["spec"]
    workdir = re.search(r"^WORKDIR (\S+)$", DOCKERFILE, flags=re.MULTILINE).group(1)
    model = Path(workdir) / load_settings(environment=container_environment(documents)).model
    mounts = {one["mountPath"]: one["name"] for one in pod["containers"][0]["volumeMounts"]}
    store = mounts[str(model.parent)]
    (volume,) = (one for one in pod["volumes"] if one["name"] == store)
    if component == "checkpoint-volume":
        assert volume["persistentVolumeClaim"]["claimName"] in README
        return
    (init,) = pod["initContainers"]
    assert init["command"][-1] == str(model)
    assert init["volumeMounts"] == [{"name": store, "mountPath": str(model.parent)}]


def test_overlay_of_the_readme_can_be_rendered(render):
    text = re.search(r"^```yaml\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL).group(1)
    documents = render("", text=text)
    own = yaml.safe_load(text)
    pod = documents["Deployment"]["spec"]["template"]["spec"]
    images = [one["image"] for one in (*pod["containers"], *pod["initContainers"])]
    assert images == [f"{one['newName']}:{one['newTag']}" for one in own["images"]]
    assert {one["metadata"]["namespace"] for one in documents.values()} == {own["namespace"]}
    (generated,) = own["configMapGenerator"]
    given = dict(literal.split("=", 1) for literal in generated["literals"])
    assert given.items() <= container_environment(documents).items()
    load_settings(environment=container_environment(documents))
    # The commands of the page follow its deployment.
    assert f"deployment/{documents['Deployment']['metadata']['name']}" in README
    assert f"-n {own['namespace']} " in README


def test_secret_of_the_readme_is_the_one_in_use(container):
    (command,) = re.findall(r"create secret generic (.*?)\nkubectl", README, flags=re.DOTALL)
    name, values = command.split(maxsplit=1)
    read = [one["valueFrom"]["secretKeyRef"] for one in container["env"]]
    assert {one["name"] for one in read} == {name}
    assert {one["key"] for one in read} == set(re.findall(r"--from-literal=(\w+)=", values))
    for one in container["env"]:
        assert one["name"] == f"{PREFIX}{one['valueFrom']['secretKeyRef']['key']}"


def test_command_of_the_readme_makes_a_prometheus_rule():
    (command,) = re.findall(r"^(\(printf .*?) \| kubectl", README, flags=re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], cwd=ROOT, capture_output=True, check=True
    )
    rule = yaml.safe_load(done.stdout)
    assert rule["kind"] == "PrometheusRule"
    alerts = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8"))
    assert rule["spec"] == alerts
