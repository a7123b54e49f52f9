"""What the cluster files promise of the Ray Serve form, as KubeRay's operator gets them."""

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


def record(*required: str, **properties: Document) -> Document:
    """Return the schema of an object that has these properties and no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


STRING: Document = {"type": "string"}
NUMBER: Document = {"type": "integer", "minimum": 0}
OBJECT: Document = {"type": "object"}
STRINGS: Document = {"type": "object", "additionalProperties": STRING}
GROUP = {"rayStartParams": STRINGS, "template": record("spec", metadata=OBJECT, spec=OBJECT)}
RAY_SERVICE = record(
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayService"},
    metadata={"type": "object", "required": ["name"]},
    spec=record(
        "serveConfigV2",
        "rayClusterConfig",
        serveConfigV2=STRING,
        rayClusterConfig=record(
            "headGroupSpec",
            "workerGroupSpecs",
            rayVersion=STRING,
            enableInTreeAutoscaling={"type": "boolean"},
            autoscalerOptions=record(
                idleTimeoutSeconds=NUMBER,
                resources=OBJECT,
                securityContext=OBJECT,
                volumeMounts={"type": "array"},
            ),
            gcsFaultToleranceOptions=record(
                "redisAddress", redisAddress=STRING, redisPassword=OBJECT
            ),
            headGroupSpec=record(*GROUP, **GROUP),
            workerGroupSpecs={
                "type": "array",
                "items": record(
                    "groupName",
                    *GROUP,
                    **GROUP,
                    groupName=STRING,
                    replicas=NUMBER,
                    minReplicas=NUMBER,
                    maxReplicas=NUMBER,
                ),
            },
        ),
    ),
)
"""Of KubeRay's RayService the part that is used here; the pods inside have Kubernetes' schema."""
POD_MONITOR = record(
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    apiVersion={"const": "monitoring.coreos.com/v1"},
    kind={"const": "PodMonitor"},
    metadata={"type": "object", "required": ["name"]},
    spec=record(
        "selector",
        "podMetricsEndpoints",
        selector=record("matchLabels", matchLabels=STRINGS),
        podMetricsEndpoints={
            "type": "array",
            "items": record(
                "port",
                port=STRING,
                path=STRING,
                interval=STRING,
                scrapeTimeout=STRING,
                relabelings={
                    "type": "array",
                    "items": record(
                        "targetLabel",
                        targetLabel=STRING,
                        replacement=STRING,
                        sourceLabels={"type": "array", "items": STRING},
                    ),
                },
            ),
        },
    ),
)


@pytest.fixture(scope="module")
def render(tmp_path_factory) -> Render:
    rendered = renderer(tmp_path_factory.mktemp("beside"))
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


def named(documents: list[Document], kind: str) -> list[Document]:
    return [one for one in documents if one["kind"] == kind]


def cluster_of(documents: list[Document]) -> Document:
    (service,) = named(documents, "RayService")
    return service["spec"]["rayClusterConfig"]


def config_of(documents: list[Document]) -> Document:
    (service,) = named(documents, "RayService")
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
    """Return a pod as KubeRay makes it of a group's template."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, **group["template"]}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("components", COMPONENTS, ids=str)
def test_every_document_fits_the_schema_of_its_kind(render, overlay, components, release):
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


def test_serve_takes_the_configuration_as_it_is_written(config, application):
    taken = ServeDeploySchema.model_validate(config).model_dump(exclude_unset=True, mode="json")
    # What Serve does not know it drops.
    assert taken == config
    for one in application["deployments"]:
        scaling = one["autoscaling_config"]
        assert AutoscalingConfig(**scaling).model_dump(include=set(scaling)) == scaling


def test_the_configuration_is_that_of_clusters_elsewhere(config, overlay):
    file = ROOT / "deploy" / "ray" / f"{overlay}.yaml"
    elsewhere = yaml.safe_load(file.read_text(encoding="utf-8"))
    given = json.loads(json.dumps(config))
    for one in (given, elsewhere):
        (application,) = one["applications"]
        # A container's, and its folder.
        application["args"] = None
        deployment(application, "Engine")["user_config"] = None
    assert given == elsewhere


def test_the_arguments_are_settings_of_a_cluster(settings, application, overlay):
    assert settings.device == {"cpu": "cpu", "gpu": "cuda"}[overlay]
    assert settings.workers == 1
    assert settings.log_format == "json"
    served = Path(deployment(application, "Engine")["user_config"]["model"])
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    workdir = re.search(r"^WORKDIR (\S+)$", image, flags=re.MULTILINE).group(1)
    assert served == Path(workdir) / Settings.model_fields["model"].default


def test_ray_is_the_one_that_the_image_installs(cluster):
    pinned = (ROOT / "requirements" / "lock.txt").read_text(encoding="utf-8")
    assert cluster["rayVersion"] == re.search(r"^ray==(\S+)", pinned, flags=re.MULTILINE).group(1)
    assert "docker build --build-arg EXTRAS=ray " in README


def test_each_node_has_what_the_application_needs_of_its_environment(cluster):
    for group in groups(cluster):
        variables = environment(group)
        module, function = variables["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"].split(":")
        assert f"\ndef {function}(" in (ROOT / module.replace(".", "/")).with_suffix(
            ".py"
        ).read_text(encoding="utf-8")
        assert variables["RAY_USAGE_STATS_ENABLED"] == "0"
        # Variables for Services of this name would be taken for settings.
        assert group["template"]["spec"]["enableServiceLinks"] is False


def test_keys_come_from_the_secret_to_where_the_application_is_built(head, workers):
    given = {one["name"]: one["valueFrom"] for one in container(head)["env"] if "valueFrom" in one}
    assert given.keys() == {f"{PREFIX}API_KEYS"}
    secret = given[f"{PREFIX}API_KEYS"]["secretKeyRef"]
    assert f"secret generic {secret['name']} " in README
    assert f"--from-literal={secret['key']}=" in README
    # A cluster refuses admin keys, and settings reach the replicas with the application.
    assert not [name for name in environment(workers) if name.startswith(PREFIX)]


def test_a_pod_has_no_more_rights_than_it_needs(render, overlay):
    cluster = cluster_of(render(overlay, "redis", "checkpoint-volume"))
    for one in pods(cluster):
        assert_least_privilege(one)
    options = cluster["autoscalerOptions"]
    assert options["securityContext"] == pods(cluster)[0]["containers"][0]["securityContext"]
    # The head's pod has the autoscaler's account.
    assert [one.get("automountServiceAccountToken") for one in pods(cluster)] == [None, False]


@pytest.mark.parametrize("components", COMPONENTS, ids=str)
def test_what_is_writable_is_a_bounded_volume(render, overlay, components):
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
        # Some forty processes write, most of them little.
        assert 40 * size < mib(volume["emptyDir"]["sizeLimit"]) * 2**20


def test_ports_are_rays_own_and_the_configurations(head, workers, config):
    assert ports(head) == {
        "gcs-server": ray_constants.DEFAULT_PORT,
        "dashboard": ray_constants.DEFAULT_DASHBOARD_PORT,
        "client": 10001,
        "serve": config["http_options"]["port"],
        # KubeRay's.
        "metrics": 8080,
    }
    assert ports(workers) == {
        "serve": config["http_options"]["port"],
        "metrics": 8080,
        "agent": ray_constants.DEFAULT_DASHBOARD_AGENT_LISTEN_PORT,
    }
    assert config["http_options"]["host"] == "0.0.0.0"  # noqa: S104  a container's


def test_probes_ask_ray_whether_it_lives_and_the_proxy_whether_it_takes_requests(head, workers):
    # Were there none, KubeRay would run wget, which the image has not.
    asked = {
        (group["template"]["spec"]["containers"][0]["name"], kind): (
            container(group)[f"{kind}Probe"]["httpGet"]["port"],
            container(group)[f"{kind}Probe"]["httpGet"]["path"],
        )
        for group in (head, workers)
        for kind in ("startup", "liveness", "readiness")
    }
    books = ("dashboard", "/api/gcs_healthz")
    lives = ("agent", "/api/local_raylet_healthz")
    assert asked == {
        ("ray-head", "startup"): books,
        ("ray-head", "liveness"): books,
        ("ray-head", "readiness"): books,
        ("ray-worker", "startup"): lives,
        ("ray-worker", "liveness"): lives,
        ("ray-worker", "readiness"): ("serve", "/-/healthz"),
    }
    for group in (head, workers):
        assert {port for port, _ in asked.values()} & ports(group).keys()


def test_a_node_has_time_to_finish_its_work(cluster, settings):
    for group in groups(cluster):
        drain = float(environment(group)["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
        # The deployments' own limit is 5 s above that.
        assert drain >= settings.grace_seconds + 5 + 10
        assert drain >= PROXY_MIN_DRAINING_PERIOD_S + 10
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] >= drain + 10


def test_a_node_has_room_for_an_engine_and_an_ingress(head, workers, application):
    assert head["rayStartParams"]["num-cpus"] == "0"
    given = workers["rayStartParams"]
    resources = container(workers)["resources"]
    assert given["num-cpus"] == resources["requests"]["cpu"]
    assert given.get("num-gpus") == resources["limits"].get("nvidia.com/gpu")
    wanted = [deployment(application, name)["ray_actor_options"] for name in ("Engine", "Ingress")]
    assert sum(one["num_cpus"] for one in wanted) <= float(given["num-cpus"])
    assert sum(one.get("num_gpus", 0) for one in wanted) == float(given.get("num-gpus", 0))
    assert "cpu" not in resources["limits"]


def test_memory_is_more_than_was_measured(head, workers, overlay):
    objects = int(workers["rayStartParams"]["object-store-memory"]) / 1e6
    node = max(recorded_figures("pods", "/worker_mb/"))
    around = node - max(recorded_figures("pods", "/engine_mb/"))
    # In 22 minutes of mixed load, and on a card's host.
    engine = {
        "cpu": max(recorded_figures("cpu", "/rss_mb")),
        "gpu": max(recorded_figures("pods", "/1 worker/host_mb/")),
    }[overlay]
    for group, peak in (
        (head, max(recorded_figures("pods", "/head_mb/"))),
        (workers, around + engine + SWAP_MB),
    ):
        resources = container(group)["resources"]
        assert mib(resources["requests"]["memory"]) * 2**20 > (peak + objects) * 1e6
        assert mib(resources["limits"]["memory"]) > 1.25 * mib(resources["requests"]["memory"])


def test_pods_come_and_go_with_the_replicas(cluster, workers, application):
    assert cluster["enableInTreeAutoscaling"] is True
    for name in ("Engine", "Ingress"):
        scaling = deployment(application, name)["autoscaling_config"]
        assert scaling["min_replicas"] == workers["minReplicas"] == workers["replicas"] > 1
        assert scaling["max_replicas"] == workers["maxReplicas"]
        assert scaling["target_ongoing_requests"] > 0
    # A pod holds one engine.
    kind = "num_gpus" if workers["rayStartParams"].get("num-gpus") else "num_cpus"
    room = float(workers["rayStartParams"][kind.replace("_", "-")])
    assert room < 2 * deployment(application, "Engine")["ray_actor_options"][kind]


def test_only_the_cluster_and_its_operator_reach_rays_own_ports(documents, head, workers):
    policies = [one["spec"] for one in named(documents, "NetworkPolicy")]
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
            # Without labels a selector would let in every namespace.
            assert "namespaceSelector" not in source or source["namespaceSelector"]["matchLabels"]
    operators = [who for who, at in reached.items() if "dashboard" in at]
    assert len(operators) == 1
    assert "kuberay-operator" in operators[0]
    for who in reached.keys() - set(operators):
        assert reached[who] <= {"serve", "metrics"}
    assert {"to": [{"podSelector": policy["podSelector"]}]} in policy["egress"]


def test_only_the_head_reaches_the_clusters_api(documents, head, workers):
    open_to_all = [
        policy["podSelector"]["matchLabels"]
        for policy in (one["spec"] for one in named(documents, "NetworkPolicy"))
        if any("to" not in rule and rule["ports"][0]["port"] == 443 for rule in policy["egress"])
    ]
    (selector,) = open_to_all
    # KubeRay labels its pods so.
    assert selector.pop("ray.io/node-type") == "head"
    assert selector.items() <= labels(head).items()


def test_everything_selects_the_pods_of_its_own_overlay_only(render, overlay, documents):
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


def test_kuberay_finds_the_head_by_its_own_labels(cluster):
    for group in groups(cluster):
        assert "app.kubernetes.io/name" not in labels(group)


def test_all_overlays_can_run_side_by_side(tmp_path):
    render = renderer(tmp_path)
    names = [
        (one["kind"], one["metadata"]["name"])
        for overlay in ("cpu", "gpu", "ray/cpu", "ray/gpu")
        for one in render(overlay)
    ]
    assert len(names) == len(set(names))


def test_prometheus_asks_one_pod_for_the_metrics_of_all(documents, head):
    asked = [
        (one["spec"]["selector"]["matchLabels"].get("ray.io/node-type"), endpoint)
        for one in named(documents, "PodMonitor")
        for endpoint in one["spec"]["podMetricsEndpoints"]
    ]
    (service, own) = asked
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


def test_all_may_reach_the_books_where_they_are_kept_outside(render, overlay):
    documents = render(overlay, "redis")
    address = cluster_of(documents)["gcsFaultToleranceOptions"]["redisAddress"]
    (rule,) = (
        rule
        for one in named(documents, "NetworkPolicy")
        for rule in one["spec"]["egress"]
        if any(str(port["port"]) == address.split(":")[1] for port in rule.get("ports", ()))
    )
    (target,) = rule["to"]
    assert target["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "redis"}


def test_a_volume_with_checkpoints_lies_where_they_are_looked_for(render, overlay):
    documents = render(overlay, "checkpoint-volume")
    (application,) = config_of(documents)["applications"]
    store = str(Path(deployment(application, "Engine")["user_config"]["model"]).parent)
    _, engine = pods(cluster_of(documents))
    mounts = {mount["mountPath"]: mount for mount in engine["containers"][0]["volumeMounts"]}
    assert mounts[store]["readOnly"] is True
    (volume,) = (one for one in engine["volumes"] if one["name"] == mounts[store]["name"])
    assert f"`{volume['persistentVolumeClaim']['claimName']}`" in README


def test_one_pod_at_a_time_may_go(documents, workers):
    (budget,) = named(documents, "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1 < workers["minReplicas"]


def test_the_readmes_overlay_serves_its_checkpoint_on_its_image(render):
    texts = re.findall(r"^```yaml\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    (text,) = (one for one in texts if "/ray/" in one)
    own: Any = yaml.safe_load(text)
    documents = render("", text=text, copied=[KUBERNETES / "ray" / "cpu" / "serve.yaml"])
    (image,) = own["images"]
    for group in groups(cluster_of(documents)):
        assert container(group)["image"] == f"{image['newName']}:{image['newTag']}"
    assert {one["metadata"]["namespace"] for one in documents} == {own["namespace"]}
    (service,) = named(documents, "RayService")
    assert f"http://{service['metadata']['name']}-serve-svc:8000" in README
