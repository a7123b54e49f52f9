"""The Kubernetes manifests of the cluster form, as rendered for the KubeRay operator."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from app.serving.settings import PREFIX, Settings, load_settings
from tests.deploy.resource_schemas import POD_MONITOR, RAY_SERVICE
from tests.support.kustomize import (
    KUBERNETES,
    README,
    RELEASES,
    ROOT,
    SWAP_MB,
    Document,
    Render,
    assert_least_privilege,
    mib,
    recorded_figures,
    renderer,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from ray._private import ray_constants
    from ray.serve._private.constants import PROXY_MIN_DRAINING_PERIOD_S
    from ray.serve.config import AutoscalingConfig
    from ray.serve.schema import ServeDeploySchema

OVERLAYS = ("cpu", "gpu")
COMPONENTS = ((), ("redis",), ("checkpoint-volume",), ("redis", "checkpoint-volume"))


@pytest.fixture(scope="module")
def render(tmp_path_factory) -> Render:
    rendered = renderer(tmp_path_factory.mktemp("overlay"))
    return lambda overlay, *components, **own: rendered(
        f"ray/{overlay}", *(f"ray/{one}" for one in components), **own
    )


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def documents(render, overlay) -> list[Document]:
    return render(overlay)


@pytest.fixture(scope="module")
def cluster(documents) -> Document:
    return cluster_of(documents)


@pytest.fixture(scope="module")
def head(cluster) -> Document:
    return cluster["headGroupSpec"]


@pytest.fixture(scope="module")
def workers(cluster) -> Document:
    (only,) = cluster["workerGroupSpecs"]
    return only


@pytest.fixture(scope="module")
def config(documents) -> Document:
    return config_of(documents)


@pytest.fixture(scope="module")
def application(config) -> Document:
    (only,) = config["applications"]
    return only


@pytest.fixture(scope="module")
def settings(application) -> Settings:
    return load_settings(application["args"], environment={})


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    return [one for one in documents if one["kind"] == kind]


def cluster_of(documents: list[Document]) -> Document:
    (service,) = of_kind(documents, "RayService")
    return service["spec"]["rayClusterConfig"]


def config_of(documents: list[Document]) -> Document:
    (service,) = of_kind(documents, "RayService")
    return yaml.safe_load(service["spec"]["serveConfigV2"])


def groups(cluster: Document) -> list[Document]:
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def pods(cluster: Document) -> list[Document]:
    return [group["template"]["spec"] for group in groups(cluster)]


def labels(group: Document) -> dict[str, str]:
    return group["template"]["metadata"]["labels"]


def container(group: Document) -> Document:
    (only,) = group["template"]["spec"]["containers"]
    return only


def environment(group: Document) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in container(group)["env"]}


def ports(group: Document) -> dict[str, int]:
    return {one["name"]: one["containerPort"] for one in container(group)["ports"]}


def deployment(application: Document, name: str) -> Document:
    (only,) = (one for one in application["deployments"] if one["name"] == name)
    return only


def pod(group: Document) -> Document:
    """Return the pod that KubeRay makes from a group's template."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, **group["template"]}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("components", COMPONENTS, ids=str)
def test_manifests_fit_their_schemas(render, overlay, components, release):
    documents = render(overlay, *components)
    own = {"RayService": RAY_SERVICE, "PodMonitor": POD_MONITOR}
    for document in documents:
        if document["kind"] in own:
            Draft202012Validator(own[document["kind"]]).validate(document)
        else:
            kubernetes_validate.validate(document, release, strict=True)
    cluster = cluster_of(documents)
    for group in groups(cluster):
        made = pod(group)
        made["metadata"] = {"name": "one", **made["metadata"]}
        kubernetes_validate.validate(made, release, strict=True)
    options = dict(cluster["autoscalerOptions"])
    del options["idleTimeoutSeconds"]
    made = pod({"template": {"spec": {"containers": [{"name": "autoscaler", **options}]}}})
    kubernetes_validate.validate(made, release, strict=True)


def test_ray_serve_accepts_every_field_of_the_configuration(config, application):
    taken = ServeDeploySchema.model_validate(config).model_dump(exclude_unset=True, mode="json")
    # Serve drops unknown fields silently.
    assert taken == config
    for one in application["deployments"]:
        scaling = one["autoscaling_config"]
        assert AutoscalingConfig(**scaling).model_dump(include=set(scaling)) == scaling


def test_configuration_equals_the_one_without_kubernetes(config, overlay):
    file = ROOT / "deploy" / "ray" / f"{overlay}.yaml"
    elsewhere = yaml.safe_load(file.read_text(encoding="utf-8"))
    given = json.loads(json.dumps(config))
    for one in (given, elsewhere):
        (application,) = one["applications"]
        # These differ: they hold paths in the container.
        application["args"] = None
        deployment(application, "Engine")["user_config"] = None
    assert given == elsewhere


def test_arguments_are_valid_settings(settings, application, overlay):
    assert settings.device == {"cpu": "cpu", "gpu": "cuda"}[overlay]
    assert settings.workers == 1
    assert settings.log_format == "json"
    served = Path(deployment(application, "Engine")["user_config"]["model"])
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    workdir = re.search(r"^WORKDIR (\S+)$", image, flags=re.MULTILINE).group(1)
    assert served == Path(workdir) / Settings.model_fields["model"].default


def test_ray_version_is_the_locked_one(cluster):
    pinned = (ROOT / "requirements" / "lock.txt").read_text(encoding="utf-8")
    assert cluster["rayVersion"] == re.search(r"^ray==(\S+)", pinned, flags=re.MULTILINE).group(1)
    assert "docker build --build-arg EXTRAS=ray " in README


def test_nodes_have_the_environment_of_the_application(cluster):
    for group in groups(cluster):
        variables = environment(group)
        module, function = variables["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"].split(":")
        assert f"\ndef {function}(" in (ROOT / module.replace(".", "/")).with_suffix(
            ".py"
        ).read_text(encoding="utf-8")
        assert variables["RAY_USAGE_STATS_ENABLED"] == "0"
        # Service link variables with this name would be taken for settings.
        assert group["template"]["spec"]["enableServiceLinks"] is False


def test_keys_reach_the_head_from_the_secret(head, workers):
    given = {one["name"]: one["valueFrom"] for one in container(head)["env"] if "valueFrom" in one}
    assert given.keys() == {f"{PREFIX}API_KEYS"}
    secret = given[f"{PREFIX}API_KEYS"]["secretKeyRef"]
    assert f"secret generic {secret['name']} " in README
    assert f"--from-literal={secret['key']}=" in README
    # A cluster refuses admin keys; other settings reach the replicas with the application.
    assert not [name for name in environment(workers) if name.startswith(PREFIX)]


def test_pods_have_least_privilege(render, overlay):
    cluster = cluster_of(render(overlay, "redis", "checkpoint-volume"))
    for one in pods(cluster):
        assert_least_privilege(one)
    options = cluster["autoscalerOptions"]
    assert options["securityContext"] == pods(cluster)[0]["containers"][0]["securityContext"]
    # The head's pod has the account of the autoscaler.
    assert [one.get("automountServiceAccountToken") for one in pods(cluster)] == [None, False]


@pytest.mark.parametrize("components", COMPONENTS, ids=str)
def test_writable_folders_are_bounded_volumes(render, overlay, components):
    cluster = cluster_of(render(overlay, *components))
    for one in pods(cluster):
        (volume,) = (volume for volume in one["volumes"] if "emptyDir" in volume)
        mounts = [
            mount for mount in one["containers"][0]["volumeMounts"] if "readOnly" not in mount
        ]
        assert mounts == [{"name": volume["name"], "mountPath": "/tmp"}]  # noqa: S108
        assert mounts == cluster["autoscalerOptions"]["volumeMounts"]
        assert mib(volume["emptyDir"]["sizeLimit"]) > 0
    for group in groups(cluster):
        files = int(environment(group)["RAY_ROTATION_BACKUP_COUNT"]) + 1
        size = files * int(environment(group)["RAY_ROTATION_MAX_BYTES"])
        # About forty processes write logs.
        assert 40 * size < mib(volume["emptyDir"]["sizeLimit"]) * 2**20


def test_ports_are_those_of_ray_and_the_configuration(head, workers, config):
    assert ports(head) == {
        "gcs-server": ray_constants.DEFAULT_PORT,
        "dashboard": ray_constants.DEFAULT_DASHBOARD_PORT,
        "client": 10001,
        "serve": config["http_options"]["port"],
        # The default of KubeRay.
        "metrics": 8080,
    }
    assert ports(workers) == {
        "serve": config["http_options"]["port"],
        "metrics": 8080,
        "agent": ray_constants.DEFAULT_DASHBOARD_AGENT_LISTEN_PORT,
    }
    assert config["http_options"]["host"] == "0.0.0.0"  # noqa: S104  inside a container


def test_probes_use_the_health_routes_of_ray(head, workers):
    # Without probes, KubeRay would add some with wget, which the image lacks.
    probes = {
        (group["template"]["spec"]["containers"][0]["name"], kind): (
            container(group)[f"{kind}Probe"]["httpGet"]["port"],
            container(group)[f"{kind}Probe"]["httpGet"]["path"],
        )
        for group in (head, workers)
        for kind in ("startup", "liveness", "readiness")
    }
    gcs = ("dashboard", "/api/gcs_healthz")
    raylet = ("agent", "/api/local_raylet_healthz")
    assert probes == {
        ("ray-head", "startup"): gcs,
        ("ray-head", "liveness"): gcs,
        ("ray-head", "readiness"): gcs,
        ("ray-worker", "startup"): raylet,
        ("ray-worker", "liveness"): raylet,
        ("ray-worker", "readiness"): ("serve", "/-/healthz"),
    }
    for group in (head, workers):
        assert {port for port, _ in probes.values()} & ports(group).keys()


def test_termination_grace_exceeds_the_shutdown(cluster, settings):
    for group in groups(cluster):
        drain = float(environment(group)["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
        # The deployments' own limit is 5 s longer.
        assert drain >= settings.grace_seconds + 5 + 10
        assert drain >= PROXY_MIN_DRAINING_PERIOD_S + 10
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] >= drain + 10


def test_nodes_have_resources_for_engine_and_ingress(head, workers, application):
    assert head["rayStartParams"]["num-cpus"] == "0"
    given = workers["rayStartParams"]
    resources = container(workers)["resources"]
    assert given["num-cpus"] == resources["requests"]["cpu"]
    assert given.get("num-gpus") == resources["limits"].get("nvidia.com/gpu")
    wanted = [deployment(application, name)["ray_actor_options"] for name in ("Engine", "Ingress")]
    assert sum(one["num_cpus"] for one in wanted) <= float(given["num-cpus"])
    assert sum(one.get("num_gpus", 0) for one in wanted) == float(given.get("num-gpus", 0))
    assert "cpu" not in resources["limits"]


def test_memory_exceeds_the_measured_peak(head, workers, overlay):
    objects = int(workers["rayStartParams"]["object-store-memory"]) / 1e6
    node = max(recorded_figures("pods", "/worker_mb/"))
    overhead = node - max(recorded_figures("pods", "/engine_mb/"))
    # Measured in 22 minutes of mixed load, and on the host of a card.
    engine = {
        "cpu": max(recorded_figures("cpu", "/rss_mb")),
        "gpu": max(recorded_figures("pods", "/1 worker/host_mb/")),
    }[overlay]
    for group, peak in (
        (head, max(recorded_figures("pods", "/head_mb/"))),
        (workers, overhead + engine + SWAP_MB),
    ):
        resources = container(group)["resources"]
        assert mib(resources["requests"]["memory"]) * 2**20 > (peak + objects) * 1e6
        assert mib(resources["limits"]["memory"]) > 1.25 * mib(resources["requests"]["memory"])


def test_pods_scale_with_the_replicas(cluster, workers, application):
    assert cluster["enableInTreeAutoscaling"] is True
    for name in ("Engine", "Ingress"):
        scaling = deployment(application, name)["autoscaling_config"]
        assert scaling["min_replicas"] == workers["minReplicas"] == workers["replicas"] > 1
        assert scaling["max_replicas"] == workers["maxReplicas"]
        assert scaling["target_ongoing_requests"] > 0
    # There is one engine in a pod.
    kind = "num_gpus" if workers["rayStartParams"].get("num-gpus") else "num_cpus"
    room = float(workers["rayStartParams"][kind.replace("_", "-")])
    assert room < 2 * deployment(application, "Engine")["ray_actor_options"][kind]


def test_only_cluster_and_operator_reach_the_ports_of_ray(documents, head, workers):
    policies = [one["spec"] for one in of_kind(documents, "NetworkPolicy")]
    (policy,) = (one for one in policies if "Ingress" in one["policyTypes"])
    for group in (head, workers):
        assert policy["podSelector"]["matchLabels"].items() <= labels(group).items()
    own, *others = policy["ingress"]
    assert own == {"from": [{"podSelector": policy["podSelector"]}]}
    reached: dict[str, set[str]] = {}
    for rule in others:
        for source in rule["from"]:
            who = json.dumps(source, sort_keys=True)
            reached.setdefault(who, set()).update(str(one["port"]) for one in rule["ports"])
            # A selector without labels would match every namespace.
            assert "namespaceSelector" not in source or source["namespaceSelector"]["matchLabels"]
    operators = [who for who, at in reached.items() if "dashboard" in at]
    assert len(operators) == 1
    assert "kuberay-operator" in operators[0]
    for who in reached.keys() - set(operators):
        assert reached[who] <= {"serve", "metrics"}
    assert {"to": [{"podSelector": policy["podSelector"]}]} in policy["egress"]


def test_only_the_head_reaches_the_kubernetes_api(documents, head, workers):
    open_to_all = [
        policy["podSelector"]["matchLabels"]
        for policy in (one["spec"] for one in of_kind(documents, "NetworkPolicy"))
        if any("to" not in rule and rule["ports"][0]["port"] == 443 for rule in policy["egress"])
    ]
    (selector,) = open_to_all
    # A label that KubeRay sets.
    assert selector.pop("ray.io/node-type") == "head"
    assert selector.items() <= labels(head).items()


def test_selectors_match_only_pods_of_their_overlay(render, overlay, documents):
    (other,) = set(OVERLAYS) - {overlay}
    selectors = [
        document["spec"].get("podSelector", document["spec"].get("selector"))["matchLabels"]
        for document in documents
        if document["kind"] != "RayService"
    ]
    (spread,) = pods(cluster_of(documents))[1]["topologySpreadConstraints"]
    assert len(selectors) == 5
    for selector in (*selectors, spread["labelSelector"]["matchLabels"]):
        own = {name: value for name, value in selector.items() if name != "ray.io/node-type"}
        for group in groups(cluster_of(documents)):
            assert own.items() <= labels(group).items()
        for group in groups(cluster_of(render(other))):
            assert not own.items() <= labels(group).items()


def test_pods_keep_the_name_label_of_kuberay(cluster):
    for group in groups(cluster):
        assert "app.kubernetes.io/name" not in labels(group)


def test_all_overlays_can_run_in_one_namespace(tmp_path):
    render = renderer(tmp_path)
    names = [
        (one["kind"], one["metadata"]["name"])
        for overlay in ("cpu", "gpu", "ray/cpu", "ray/gpu")
        for one in render(overlay)
    ]
    assert len(names) == len(set(names))


def test_prometheus_scrapes_service_metrics_from_the_head(documents, head):
    probes = [
        (one["spec"]["selector"]["matchLabels"].get("ray.io/node-type"), endpoint)
        for one in of_kind(documents, "PodMonitor")
        for endpoint in one["spec"]["podMetricsEndpoints"]
    ]
    (service, own) = probes
    assert service[0] == "head"
    assert service[1]["port"] == "serve"
    assert own == (None, own[1])
    assert own[1]["port"] == "metrics"
    prometheus = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text(encoding="utf-8"))
    job, group = service[1]["relabelings"]
    assert job == {
        "targetLabel": "job",
        "replacement": prometheus["scrape_configs"][0]["job_name"],
    }
    (source,) = group["sourceLabels"]
    prefix, label = "__meta_kubernetes_pod_label_", "app.kubernetes.io/component"
    assert source == prefix + re.sub(r"\W", "_", label)
    assert label in labels(head)
    assert group["targetLabel"] == "service"


def test_pods_may_reach_redis(render, overlay):
    documents = render(overlay, "redis")
    address = cluster_of(documents)["gcsFaultToleranceOptions"]["redisAddress"]
    (rule,) = (
        rule
        for one in of_kind(documents, "NetworkPolicy")
        for rule in one["spec"]["egress"]
        if any(str(port["port"]) == address.split(":")[1] for port in rule.get("ports", ()))
    )
    (target,) = rule["to"]
    assert target["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "redis"}


def test_checkpoint_volume_is_mounted_at_the_model_store(render, overlay):
    documents = render(overlay, "checkpoint-volume")
    (application,) = config_of(documents)["applications"]
    store = str(Path(deployment(application, "Engine")["user_config"]["model"]).parent)
    _, engine = pods(cluster_of(documents))
    mounts = {mount["mountPath"]: mount for mount in engine["containers"][0]["volumeMounts"]}
    assert mounts[store]["readOnly"] is True
    (volume,) = (one for one in engine["volumes"] if one["name"] == mounts[store]["name"])
    assert f"`{volume['persistentVolumeClaim']['claimName']}`" in README


def test_at_most_one_pod_is_unavailable(documents, workers):
    (budget,) = of_kind(documents, "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1 < workers["minReplicas"]


def test_overlay_of_the_readme_uses_its_image_and_namespace(render):
    texts = re.findall(r"^```yaml\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    (text,) = (one for one in texts if "/ray/" in one)
    own: Any = yaml.safe_load(text)
    documents = render("", text=text, copied=[KUBERNETES / "ray" / "cpu" / "serve.yaml"])
    (image,) = own["images"]
    for group in groups(cluster_of(documents)):
        assert container(group)["image"] == f"{image['newName']}:{image['newTag']}"
    assert {one["metadata"]["namespace"] for one in documents} == {own["namespace"]}
    (service,) = of_kind(documents, "RayService")
    assert f"http://{service['metadata']['name']}-serve-svc:8000" in README
