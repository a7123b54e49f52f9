"""An ingress replica of a cluster: the application with all its routes, before the engines."""

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from app.core.errors import NotReadyError
from app.serving.api.application import create_app
from app.serving.api.state import state_of
from app.serving.cluster.metrics_merge import OF_INGRESS, MergedMetrics
from app.serving.cluster.replica_client import ReplicaClient, replica_name
from app.serving.logs import configure_logs
from app.serving.metrics import Metrics
from app.serving.scheduling.lanes import BULK_SHARE
from app.serving.settings import Settings

SCRAPE_SECONDS = 5.0


@serve.ingress()
class Ingress:
    """The application with all its routes, before the engines."""

    def __init__(self, settings: Settings, engines: DeploymentHandle[Any]) -> None:
        """Take the settings, and the engine deployment's handle."""
        configure_logs(settings.log_format, f"ingress {replica_name()}")
        self._settings, self._engines = settings, engines
        self._metrics = Metrics()
        # As long as an admitted ad of a bulk request may wait, and a batch may take.
        patience = settings.max_queue_seconds / BULK_SHARE + settings.hang_seconds
        self._replicas = ReplicaClient(engines, self._metrics, patience)
        self._failures: list[Exception] = []
        self._app = create_app(
            settings,
            self._replicas.load,
            self._metrics,
            self._failures.append,
            explain=self._replicas.explain,
            expose=self._expose,
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the application."""
        return self._app

    async def check_health(self) -> None:
        """Count as healthy once the engines' model is known."""
        await state_of(self._app).loading_ended()
        for error in self._failures:
            raise error

    async def exposition(self) -> tuple[str, str]:
        """Return this replica's name and its metrics in Prometheus' format."""
        return replica_name(), self._metrics.exposition().decode()

    async def _expose(self) -> bytes:
        context = serve.get_replica_context()
        own = serve.get_deployment_handle(context.deployment, context.app_name)
        found = MergedMetrics()
        for handle, only in ((own, OF_INGRESS), (self._engines, ("",))):
            told = await _all(handle)
            for replica, text in told:
                found.add(replica, text, only)
        return found.text()


async def _all(deployment: DeploymentHandle[Any]) -> list[tuple[str, str]]:
    try:
        told = await deployment.broadcast("exposition").results_async(
            timeout_s=SCRAPE_SECONDS, return_exceptions=True
        )
    except Exception as error:
        raise NotReadyError("Not all replicas tell their metrics; try again.") from error
    # One that has just died tells nothing.
    return [one for one in told if not isinstance(one, BaseException)]
