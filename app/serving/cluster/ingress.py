"""An ingress replica of a cluster: the HTTP application, which sends ads to engine replicas."""

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from app.core.errors import NotReadyError
from app.serving.api.application import create_app
from app.serving.api.state import state_of
from app.serving.cluster.metrics_merge import INGRESS_METRICS, MergedMetrics
from app.serving.cluster.replica_client import ReplicaClient, replica_name
from app.serving.logs import configure_logs
from app.serving.metrics import Metrics
from app.serving.scheduling.lanes import BULK_SHARE
from app.serving.settings import Settings

SCRAPE_SECONDS = 5.0
"""How long replicas may take to return their metrics."""


@serve.ingress()
class Ingress:
    """The HTTP application with all its routes, and a `ReplicaClient` as its service."""

    def __init__(self, settings: Settings, engines: DeploymentHandle[Any]) -> None:
        configure_logs(settings.log_format, f"ingress {replica_name()}")
        self._settings, self._engines = settings, engines
        self._metrics = Metrics()
        # The longest that an admitted bulk ad may wait, and the longest that its batch may take.
        timeout_seconds = settings.max_queue_seconds / BULK_SHARE + settings.hang_seconds
        self._replicas = ReplicaClient(engines, self._metrics, timeout_seconds)
        self._failures: list[Exception] = []
        self._app = create_app(
            settings,
            self._replicas.load,
            self._metrics,
            self._failures.append,
            explain=self._replicas.explain,
            expose=self._merged_metrics,
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the application; Serve calls it inside the replica."""
        return self._app

    async def check_health(self) -> None:
        """Return once the engine replicas' model is known; raise the error if loading failed."""
        await state_of(self._app).loading_ended()
        for error in self._failures:
            raise error

    async def exposition(self) -> tuple[str, str]:
        """Return this replica's name and its metrics in Prometheus' text format."""
        return replica_name(), self._metrics.exposition().decode()

    async def _merged_metrics(self) -> bytes:
        context = serve.get_replica_context()
        own = serve.get_deployment_handle(context.deployment, context.app_name)
        merged = MergedMetrics()
        for deployment, prefixes in ((own, INGRESS_METRICS), (self._engines, ("",))):
            for replica, text in await metrics_of_replicas(deployment):
                merged.add(replica, text, prefixes)
        return merged.text()


async def metrics_of_replicas(deployment: DeploymentHandle[Any]) -> list[tuple[str, str]]:
    """Return the name and metrics of each replica of a deployment.

    A replica that has just died is left out.

    Raises:
        NotReadyError: a replica that runs did not answer in time; sums without it would be wrong.
    """
    try:
        found = await deployment.broadcast("exposition").results_async(
            timeout_s=SCRAPE_SECONDS, return_exceptions=True
        )
    except Exception as error:
        raise NotReadyError("Not all replicas returned their metrics; try again.") from error
    return [one for one in found if not isinstance(one, BaseException)]
