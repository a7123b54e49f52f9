"""Serves as a Ray cluster on this machine, with another engine, until SIGTERM.

    python -m tests.support.serve_cluster MODULE:ENGINE [OPTION ...]

Options and settings as for `tests.support.serve_with_engine`; the port is the proxy's. By default
the cluster has one node. The environment may change that:

- TESTS_WORKERS: the number of nodes next to the head, which then runs only the proxy. SIGUSR1 kills
  a node that has replicas of both deployments, SIGUSR2 adds one.
- TESTS_REPLICAS: the number of replicas of each deployment.
- TESTS_MODELS: checkpoint folders, separated like PATH; SIGHUP rolls out the next one.
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
    # A node counts as dead after three missed health checks, one a second.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
CONFIG = ROOT / "deploy" / "ray" / "cpu.yaml"
OBJECT_STORE_BYTES = 80 * 2**20
"""The smallest object store that Ray allows a node; nothing here needs one."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class LocalCluster:
    """Ray nodes on this machine, each with its own processes like a machine of its own."""

    def __init__(self, workers: int) -> None:
        import ray
        from ray.cluster_utils import Cluster as Nodes

        cpus = 0 if workers else 4
        head = {
            "num_cpus": cpus,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
        self._nodes = Nodes(initialize_head=True, head_node_args=head)
        self._workers: list[Any] = []
        for _ in range(workers):
            self.add()
        ray.init(address=self._nodes.address, log_to_driver=True)

    def add(self) -> None:
        self._workers.append(
            self._nodes.add_node(num_cpus=4, object_store_memory=OBJECT_STORE_BYTES)
        )

    def kill(self) -> None:
        """Kill all processes of a node that has replicas of both deployments."""
        busy: dict[str, set[str]] = {}
        for replica in replicas():
            busy.setdefault(replica["node_id"], set()).add(replica["deployment"])
        chosen = next(node for node in self._workers if len(busy.get(node.node_id, ())) == 2)
        self._workers.remove(chosen)
        self._nodes.remove_node(chosen, allow_graceful=False)
        log_event("killed a node")

    def end(self) -> None:
        import ray

        ray.shutdown()
        self._nodes.shutdown()


def log_event(event: str) -> None:
    sys.stderr.write(f"tests: {event}\n")


def replicas() -> Iterator[dict[str, str]]:
    """Yield the node and the deployment of each running replica."""
    from ray.serve.context import _get_global_client

    (application,) = _get_global_client().get_serve_details()["applications"].values()
    for name, deployment in application["deployments"].items():
        for replica in deployment["replicas"]:
            if replica["state"] == "RUNNING":
                yield {"node_id": replica["node_id"], "deployment": name}


def deployment_config(engine: str, model: str) -> dict[str, Any]:
    """Return the repository's Serve configuration with another engine and fixed replicas."""
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
    """Serve with the engine `MODULE:CLASS`."""
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    settings = load_settings()
    models = cycle(os.environ.get("TESTS_MODELS", str(settings.model)).split(os.pathsep))
    cluster = LocalCluster(int(os.environ.get("TESTS_WORKERS", 0)))
    serve.start("HeadOnly", http_options={"host": settings.host, "port": settings.port})

    def roll() -> None:
        config = ServeDeploySchema.model_validate(deployment_config(engine, next(models)))
        _get_global_client().deploy_apps(config, _blocking=True)

    roll()
    log_event("ready")
    while (got := signal.sigwait(SIGNALS)) not in (signal.SIGTERM, signal.SIGINT):
        if got == signal.SIGHUP:
            roll()
            log_event("rolled")
        elif got == signal.SIGUSR1:
            cluster.kill()
        else:
            cluster.add()
    cluster.end()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    os.environ[OPTIONS] = " ".join(sys.argv[2:])
    serve_with(sys.argv[1])
