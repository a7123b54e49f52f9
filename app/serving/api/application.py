"""Builds the HTTP application: its routes, their shared state, startup and shutdown."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from app.core.errors import ClientLeftError
from app.serving.api.admin import admin_routes
from app.serving.api.auth import ApiKeys
from app.serving.api.body_deadline import BodyDeadline
from app.serving.api.classify import classify_routes
from app.serving.api.guarded_route import guarded_router
from app.serving.api.jobposting.route import jobposting_routes
from app.serving.api.operations import (
    add_metrics,
    add_openapi_document,
    health_routes,
    model_routes,
)
from app.serving.api.pages import documentation, try_it_page
from app.serving.api.problems import add_problem_handlers
from app.serving.api.state import ApplicationState, Explain
from app.serving.api.stream.route import stream_routes
from app.serving.api.telemetry import Telemetry
from app.serving.inference.explanations import Explainer
from app.serving.inference.service import Classifier
from app.serving.metrics import Metrics
from app.serving.settings import Settings

LoadService = Callable[[], Awaitable[Classifier]]


def create_app(
    settings: Settings,
    load: LoadService,
    metrics: Metrics,
    on_failure: Callable[[Exception], None],
    explain: Explain | None = None,
    expose: Callable[[], Awaitable[bytes]] | None = None,
) -> FastAPI:
    """Build the application. It is live at once, and ready when `load` has returned.

    Args:
        settings: limits, keys, and which routes there are.
        load: returns the service; runs in the background once the application has started.
        metrics: where everything is recorded.
        on_failure: called with the exception that `load` raised.
        explain: explains an ad; by default an `Explainer` of this process.
        expose: returns the answer of `GET /metrics`; by default that of `metrics`.
    """
    state: ApplicationState[Classifier] = ApplicationState(
        settings,
        metrics,
        api_keys=ApiKeys(settings.api_keys),
        admin_keys=ApiKeys(settings.admin_keys),
        explain=explain or Explainer(settings, metrics).explain,
    )

    async def expose_own() -> bytes:
        return metrics.exposition()

    app = FastAPI(
        title="Doppelkopf",
        summary="Job category and minimum education of a job ad, from one encoder pass",
        version="1",
        # The names that generated clients give their functions.
        generate_unique_id_function=lambda route: route.name,
        lifespan=_lifespan(state, load, on_failure),
        # Added below, where the settings allow it.
        openapi_url=None,
        redirect_slashes=False,
        # Otherwise it would send telemetry to any collector that the environment names.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.application = state
    add_problem_handlers(app)
    _add_routes(app, settings, expose or expose_own)
    app.add_middleware(BodyDeadline, seconds=settings.client_seconds)
    app.add_middleware(Telemetry, metrics=metrics)
    metrics.expect_routes(_documented_statuses(app))
    return app


def _lifespan(
    state: ApplicationState[Classifier], load: LoadService, on_failure: Callable[[Exception], None]
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    async def start() -> None:
        try:
            state.service = await load()
        except Exception as error:  # noqa: BLE001  whatever it is, the process has to end
            on_failure(error)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        state.loading = asyncio.create_task(start())
        yield
        state.loading.cancel()
        if state.service:
            await state.service.drain(state.settings.grace_seconds)
        if state.swapper:
            await state.swapper.drain()

    return lifespan


def _add_routes(app: FastAPI, settings: Settings, expose: Callable[[], Awaitable[bytes]]) -> None:
    """Add the routes that the settings allow, in the order of the OpenAPI document."""
    behind_key = guarded_router()
    app.include_router(health_routes)
    if settings.metrics_access == "open":
        add_metrics(app, expose, needs_key=False)
    elif settings.metrics_access == "key":
        add_metrics(behind_key, expose, needs_key=True)
    if settings.docs_access == "open":
        add_openapi_document(app)
        app.include_router(documentation())
    elif settings.docs_access == "key":
        add_openapi_document(behind_key)
    app.include_router(classify_routes(settings.max_batch_ads))
    app.include_router(model_routes)
    app.include_router(behind_key)
    app.include_router(jobposting_routes)
    app.include_router(stream_routes)
    if settings.admin_keys:
        app.include_router(admin_routes)
    app.include_router(try_it_page(_closed_links(settings)))


def _closed_links(settings: Settings) -> list[str]:
    """List the addresses that a browser may not open: it sends no key when it follows a link."""
    open_to_all = {
        "docs": settings.docs_access == "open",
        "metrics": settings.metrics_access == "open",
        "model": not settings.api_keys,
    }
    return [address for address, is_open in open_to_all.items() if not is_open]


def _documented_statuses(app: FastAPI) -> list[tuple[str, list[int]]]:
    """List every documented route with its statuses, for counters that begin at 0.

    A `POST` route has one more, recorded for a client that has disconnected, and never sent.
    """
    return [
        (path, [*map(int, operation["responses"]), *([ClientLeftError.status] * (verb == "post"))])
        for path, operations in app.openapi()["paths"].items()
        for verb, operation in operations.items()
    ]
