"""The HTTP service: routes, and how errors become problem documents."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.responses import FileResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline

from app import schemas
from app.errors import (
    BodyTooLargeError,
    ClientLeftError,
    DeadlineExceededError,
    EngineError,
    InvalidRequestError,
    MalformedBodyError,
    NotReadyError,
    OverloadedError,
    SlowBodyError,
    UnauthorizedError,
)
from app.lanes import Lane
from app.metrics import Metrics
from app.middleware import BodyLimit, Telemetry
from app.patience import BodyDeadline
from app.problems import add_problems, responses
from app.service import Service
from app.settings import Settings

PAGE = Path(__file__).with_name("page")
MAX_TIMEOUT_MS = 600_000

Load = Callable[[], Awaitable[Service]]
Answer = TypeVar("Answer")

TimeoutHeader = Annotated[
    int | None,
    Header(
        alias="X-Request-Timeout-Ms",
        ge=1,
        le=MAX_TIMEOUT_MS,
        description="give up with 504 after this many milliseconds and drop the work",
    ),
]


def create_app(
    settings: Settings,
    load: Load,
    metrics: Metrics,
    on_failure: Callable[[Exception], None],
) -> FastAPI:
    """Build the application. It lives at once and is ready when `load` has returned.

    Args:
        settings: limits and keys.
        load: gives the service; runs in the background while the process is alive already.
        metrics: where everything is recorded.
        on_failure: told why `load` failed.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async def start() -> None:
            try:
                app.state.service = await load()
            except Exception as error:  # noqa: BLE001  whatever it is, the process has to end
                on_failure(error)

        app.state.loading = asyncio.create_task(start())
        yield
        app.state.loading.cancel()
        if app.state.service:
            await app.state.service.drain(settings.grace_seconds)

    # Its documentation page brings its scripts along: a browser behind a firewall shows it too.
    app = FastAPIOffline(
        title="Doppelkopf",
        summary="Job category and minimum education of a job ad, from one encoder pass",
        version="1",
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.service = None
    app.state.settings = settings
    add_problems(app)
    _add_classify(app, settings)
    _add_operations(app, metrics)
    _add_page(app)
    app.add_middleware(BodyDeadline, seconds=settings.client_seconds)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(Telemetry, metrics=metrics)
    metrics.expect_routes(_documented(app))
    return app


def get_service(request: Request) -> Service:
    """Return the service of a ready application.

    Raises:
        NotReadyError: the checkpoint is still loading.
    """
    service: Service | None = request.app.state.service
    if service is None:
        raise NotReadyError("The model is still loading; try again in a few seconds.")
    return service


def require_key(
    request: Request,
    given: Annotated[
        HTTPAuthorizationCredentials | None,
        Depends(HTTPBearer(auto_error=False, description="an API key, where the server has any")),
    ],
) -> None:
    """Let a request pass that has one of the keys, or all where there is none.

    Raises:
        UnauthorizedError: the key is missing or wrong.
    """
    settings: Settings = request.app.state.settings
    if not settings.api_keys:
        return
    sent = (given.credentials if given else "").encode()
    # Every key is compared, in constant time, so that the time tells nothing about them.
    matches = [
        hmac.compare_digest(sent, key.get_secret_value().encode()) for key in settings.api_keys
    ]
    if not any(matches):
        raise UnauthorizedError("Send an API key as 'Authorization: Bearer <key>'.")


Ready = Annotated[Service, Depends(get_service)]
Keyed = [Depends(require_key)]


async def unless_gone(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Await `work`, and cancel it when the client disconnects first.

    Raises:
        ClientLeftError: nobody waits for the answer any more.
    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, watch = asyncio.create_task(work), asyncio.create_task(gone())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientLeftError("The client closed the connection.")
        return await task
    finally:
        task.cancel()
        watch.cancel()


def _add_classify(app: FastAPI, settings: Settings) -> None:
    errors = responses(
        MalformedBodyError,
        UnauthorizedError,
        SlowBodyError,
        BodyTooLargeError,
        InvalidRequestError,
        OverloadedError,
        EngineError,
        NotReadyError,
        DeadlineExceededError,
    )

    async def answer(
        request: Request,
        service: Service,
        ads: list[schemas.AdIn],
        lane: Lane,
        top_k: int,
        timeout_ms: int | None,
    ) -> list[schemas.ClassifyResponse]:
        work = service.classify(
            [ad.ad() for ad in ads],
            lane=lane,
            top_k=top_k,
            timeout_seconds=None if timeout_ms is None else timeout_ms / 1000,
        )
        answers = await unless_gone(request, work)
        model = schemas.ModelRef(name=service.model.name, revision=service.model.revision)
        return [
            schemas.ClassifyResponse.of(ad, one, model)
            for ad, one in zip(ads, answers, strict=True)
        ]

    @app.post("/classify", tags=["classify"], responses=errors, dependencies=Keyed)
    async def classify(
        request: Request,
        body: schemas.ClassifyRequest,
        service: Ready,
        timeout_ms: TimeoutHeader = None,
    ) -> schemas.ClassifyResponse:
        """Classify one ad; goes before the ads of batches."""
        answers = await answer(request, service, [body], Lane.INTERACTIVE, body.top_k, timeout_ms)
        return answers[0]

    @app.post("/classify/batch", tags=["classify"], responses=errors, dependencies=Keyed)
    async def classify_batch(
        request: Request,
        body: schemas.BatchRequest,
        service: Ready,
        timeout_ms: TimeoutHeader = None,
    ) -> schemas.BatchResponse:
        """Classify several ads; the answers come in their order, all or none."""
        if len(body.ads) > settings.max_batch_ads:
            raise InvalidRequestError(
                f"body.ads: {len(body.ads)} ads are too many, send at most "
                f"{settings.max_batch_ads} at once."
            )
        answers = await answer(request, service, body.ads, Lane.BULK, body.top_k, timeout_ms)
        return schemas.BatchResponse(results=answers)

    @app.get(
        "/model",
        tags=["model"],
        responses=responses(UnauthorizedError, NotReadyError),
        dependencies=Keyed,
    )
    async def model(service: Ready) -> schemas.ModelResponse:
        """Tell what is served: labels, limits, device and revision."""
        return schemas.ModelResponse.of(
            service.model,
            max_batch_ads=settings.max_batch_ads,
            max_body_bytes=settings.max_body_bytes,
        )


def _add_operations(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/health/live", tags=["health"])
    async def live() -> schemas.Health:
        """Answer as long as the process runs."""
        return schemas.Health(status="live")

    @app.get("/health/ready", tags=["health"], responses=responses(NotReadyError))
    @app.get("/health", tags=["health"], responses=responses(NotReadyError))
    async def ready(service: Ready) -> schemas.Health:
        """Answer 200 when ads can be classified, else 503."""
        service.require_ready()
        return schemas.Health(status="ready")

    @app.get("/metrics", tags=["operations"])
    async def prometheus() -> Response:
        """Give all metrics in Prometheus' text format."""
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(
            PAGE / "index.html",
            headers={
                "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
            },
        )

    app.mount("/page", StaticFiles(directory=PAGE), name="page")


def _documented(app: FastAPI) -> list[tuple[str, list[int]]]:
    """List every documented route with its statuses, and with the one that is never sent."""
    return [
        (path, [*map(int, operation["responses"]), *([ClientLeftError.status] * (verb == "post"))])
        for path, operations in app.openapi()["paths"].items()
        for verb, operation in operations.items()
    ]
