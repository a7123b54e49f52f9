"""A real cluster on this machine that serves with another engine, until SIGTERM comes.

    python -m tests.support.serve_cluster MODULE:ENGINE [OPTION ...]

As `tests.support.serve_with_engine`; the settings' port is the proxy's. A cluster is one node, unless the environment
says otherwise:

- TESTS_WORKERS: as many nodes beside the head, which then has the proxy alone. SIGUSR1 kills one
  that has replicas of both deployments, SIGUSR2 adds one.
- TESTS_REPLICAS: of each deployment.
- TESTS_MODELS: folders; SIGHUP rolls the next one out.
"""

import os
import signal
import sys
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import yaml

from app.serving.settings import load_settings
from tests.support.repository import ROOT
from tests.support.serve_with_engine import OPTIONS

CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
os.environ |= {
    CALLBACK: "app.serving.cluster.proxy:middlewares",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A node's death is noticed by its silence: three times in a row, of one second each.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
CONFIG = ROOT / "deploy" / "ray" / "cpu.yaml"
STORE = 80 * 2**20
"""Bytes of each node's object store, the least it may have; nothing here needs one."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Cluster:
    """Nodes, each with its own processes as if it were a machine."""

    def __init__(self, workers: int) -> None:
        import ray
        from ray.cluster_utils import Cluster as Nodes

        cpus = 0 if workers else 4
        head = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": STORE}
        self._nodes = Nodes(initialize_head=True, head_node_args=head)
        self._workers: list[Any] = []
        for _ in range(workers):
            self.add()
        ray.init(address=self._nodes.address, log_to_driver=True)

    def add(self) -> None:
        self._workers.append(self._nodes.add_node(num_cpus=4, object_store_memory=STORE))

    def kill(self) -> None:
        """Kill all processes of a node that has replicas of both deployments."""
        busy: dict[str, set[str]] = {}
        for replica in replicas():
            busy.setdefault(replica["node_id"], set()).add(replica["deployment"])
        chosen = next(node for node in self._workers if len(busy.get(node.node_id, ())) == 2)
        self._workers.remove(chosen)
        self._nodes.remove_node(chosen, allow_graceful=False)
        tell("killed a node")

    def end(self) -> None:
        import ray

        ray.shutdown()
        self._nodes.shutdown()


def tell(event: str) -> None:
    sys.stderr.write(f"tests: {event}\n")


def replicas() -> Iterator[dict[str, str]]:
    """Yield the node and the deployment of each replica that runs."""
    from ray.serve.context import _get_global_client

    (application,) = _get_global_client().get_serve_details()["applications"].values()
    for name, deployment in application["deployments"].items():
        for replica in deployment["replicas"]:
            if replica["state"] == "RUNNING":
                yield {"node_id": replica["node_id"], "deployment": name}


def deployed(engine: str, model: str) -> dict[str, Any]:
    """Return what an operator would have deployed, with another engine and fixed replicas."""
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    (application,) = config["applications"]
    application["args"] = {"engine": engine}
    for deployment in application["deployments"]:
        del deployment["autoscaling_config"]
        deployment["num_replicas"] = int(os.environ.get("TESTS_REPLICAS", 1))
        deployment["ray_actor_options"]["num_cpus"] = 0.5
        if deployment["name"] == "Engine":
            deployment["user_config"] = {"model": model}
    return config


def serve_with(engine: str) -> None:
    """Serve with the engine of this name."""
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    settings = load_settings()
    models = cycle(os.environ.get("TESTS_MODELS", str(settings.model)).split(os.pathsep))
    cluster = Cluster(int(os.environ.get("TESTS_WORKERS", 0)))
    serve.start("HeadOnly", http_options={"host": settings.host, "port": settings.port})

    def roll() -> None:
        config = ServeDeploySchema.model_validate(deployed(engine, next(models)))
        _get_global_client().deploy_apps(config, _blocking=True)

    roll()
    tell("ready")
    while (got := signal.sigwait(SIGNALS)) not in (signal.SIGTERM, signal.SIGINT):
        if got == signal.SIGHUP:
            roll()
            tell("rolled")
        elif got == signal.SIGUSR1:
            cluster.kill()
        else:
            cluster.add()
    cluster.end()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    os.environ[OPTIONS] = " ".join(sys.argv[2:])
    serve_with(sys.argv[1])
