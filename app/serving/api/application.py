"""The HTTP service: routes, and how errors become problem documents."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from app.errors import (
    BodyTooLargeError,
    ClientLeftError,
    DeadlineExceededError,
    EngineError,
    InvalidRequestError,
    MalformedBodyError,
    MediaTypeError,
    NotReadyError,
    OverloadedError,
    SlowBodyError,
    UnauthorizedError,
)
from app.explaining import Explainer
from app.lanes import Lane
from app.metrics import Metrics
from app.records import Ad, Explanation, Prediction
from app.schemas.classify import AdIn, BatchResponse, ClassifyRequest, ClassifyResponse
from app.schemas.classify import BatchRequest as AnyBatchRequest
from app.schemas.fields import MAX_TIMEOUT_MS
from app.schemas.jobposting_request import JobPostingDocument
from app.schemas.jobposting_response import JobPostingResponse
from app.schemas.model import Health, ModelResponse
from app.service import Classifier
from app.serving.api.admin import administration
from app.serving.api.auth import BEARER, Keys
from app.serving.api.body_deadline import BodyDeadline
from app.serving.api.guarded_route import GuardedRoute, get_service, without_query
from app.serving.api.jobposting.enrichment import JobPostings, ad_of
from app.serving.api.json_body import VALUES_A_POSTING
from app.serving.api.pages import documentation, try_it_page
from app.serving.api.problems import add_problems, responses
from app.serving.api.stream.route import streams
from app.serving.api.telemetry import TIMED, Telemetry
from app.settings import Settings

Load = Callable[[], Awaitable[Classifier]]
Explain = Callable[..., Coroutine[Any, Any, tuple[Prediction, Explanation]]]
"""`Explainer.explain`, or what asks another machine for it."""
Answer = TypeVar("Answer")

TimeoutHeader = Annotated[
    Annotated[int, Field(ge=1, le=MAX_TIMEOUT_MS)] | SkipJsonSchema[None],
    Header(
        alias="X-Request-Timeout-Ms",
        description="give up with 504 after this many milliseconds and drop the work",
    ),
]


def create_app(
    settings: Settings,
    load: Load,
    metrics: Metrics,
    on_failure: Callable[[Exception], None],
    explain: Explain | None = None,
    expose: Callable[[], Awaitable[bytes]] | None = None,
) -> FastAPI:
    """Build the application. It lives at once and is ready when `load` has returned.

    Args:
        settings: limits and keys.
        load: gives the service; runs in the background while the process is alive already.
        metrics: where everything is recorded.
        on_failure: told why `load` failed.
        explain: explains ads; by default by asking the service for their readings.
        expose: gives what `GET /metrics` answers; by default `metrics`.
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
        if app.state.swapper:
            await app.state.swapper.drain()

    app = FastAPI(
        title="Doppelkopf",
        summary="Job category and minimum education of a job ad, from one encoder pass",
        version="1",
        # What generated clients call their functions.
        generate_unique_id_function=lambda route: route.name,
        lifespan=lifespan,
        # Served below, where the settings let it be seen.
        openapi_url=None,
        redirect_slashes=False,
        # It would report to whatever collector the environment names.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.service = app.state.swapper = None
    app.state.settings = settings
    app.state.keys = Keys(settings.api_keys)
    add_problems(app)
    guarded = APIRouter(route_class=GuardedRoute, dependencies=[Depends(BEARER)])
    _add_classify(guarded, settings, explain or Explainer(settings, metrics).explain)
    _add_model(guarded, settings)
    _add_health(app)
    if settings.metrics_access != "off":
        exposed = expose or partial(_exposition, metrics)
        _add_metrics(guarded if settings.metrics_access == "key" else app, exposed)
    if settings.docs_access != "off":
        router = guarded if settings.docs_access == "key" else app
        router.add_api_route("/openapi.json", _document, include_in_schema=False)
    if settings.docs_access == "open":
        app.include_router(documentation())
    app.include_router(guarded)
    app.include_router(_jobpostings(settings))
    app.include_router(streams(settings, metrics, GuardedRoute, get_service, WithoutQuery))
    if settings.admin_keys:
        app.include_router(administration(Keys(settings.admin_keys)))
    app.include_router(try_it_page(_closed_links(settings)))
    app.add_middleware(BodyDeadline, seconds=settings.client_seconds)
    app.add_middleware(Telemetry, metrics=metrics)
    metrics.expect_routes(_documented(app))
    return app


Ready = Annotated[Classifier, Depends(get_service)]
WithoutQuery = [Depends(without_query)]


async def unless_gone(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Await `work`, and cancel it when the client disconnects first.

    Raises:
        ClientLeftError: nobody waits for the answer any more.
    """
    task = asyncio.current_task()
    assert task  # noqa: S101  for types: a coroutine runs in one
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    # The work stays in this task: one of its own would cost as much as its whole bookkeeping.
    watching = asyncio.create_task(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()
        raise ClientLeftError("The client closed the connection.") from None
    finally:
        watching.cancel()


DESCRIBED = {200: TIMED} | responses(
    MalformedBodyError,
    UnauthorizedError,
    SlowBodyError,
    BodyTooLargeError,
    MediaTypeError,
    InvalidRequestError,
    OverloadedError,
    EngineError,
    NotReadyError,
    DeadlineExceededError,
)


async def _predict(
    request: Request,
    service: Classifier,
    ads: Sequence[Ad],
    lane: Lane,
    top_k: int,
    timeout_ms: int | None,
) -> list[Prediction]:
    seconds = None if timeout_ms is None else timeout_ms / 1000
    work = service.classify(ads, lane=lane, top_k=top_k, timeout_seconds=seconds)
    return await unless_gone(request, work)


class PostingRoute(GuardedRoute):
    """Takes as many values as a JobPosting has."""

    values_an_ad = VALUES_A_POSTING


def _jobpostings(settings: Settings) -> APIRouter:
    router = APIRouter(route_class=PostingRoute, dependencies=[Depends(BEARER)])

    @router.post(
        "/classify/jobposting", tags=["classify"], responses=DESCRIBED, dependencies=WithoutQuery
    )
    async def classify_jobposting(
        request: Request,
        body: JobPostingDocument,
        service: Ready,
        timeout_ms: TimeoutHeader = None,
    ) -> JobPostingResponse:
        """Classify the postings of a JSON-LD document, and tell what to add to each."""
        sent = body.postings()
        if len(sent) > settings.max_batch_ads:
            raise InvalidRequestError(
                f"body: {len(sent)} postings are more than {settings.max_batch_ads}; "
                "send fewer at once."
            )
        lane = Lane.INTERACTIVE if len(sent) == 1 else Lane.BULK
        top_k = max(one.top_k for one in sent)
        ads = [ad_of(one) for one in sent]
        answers = await _predict(request, service, ads, lane, top_k, timeout_ms)
        postings = JobPostings(service.named(answers[0].model).heads)
        return JobPostingResponse(results=list(map(postings.answer, sent, answers)))

    return router


def _add_classify(router: APIRouter, settings: Settings, explain: Explain) -> None:
    async def answer(
        request: Request,
        service: Classifier,
        ads: list[AdIn],
        lane: Lane,
        top_k: int,
        timeout_ms: int | None,
    ) -> list[ClassifyResponse]:
        sent = [ad.ad() for ad in ads]
        answers = await _predict(request, service, sent, lane, top_k, timeout_ms)
        return [ClassifyResponse.of(ad, one) for ad, one in zip(ads, answers, strict=True)]

    async def explained(
        request: Request, service: Classifier, ad: ClassifyRequest, timeout_ms: int | None
    ) -> ClassifyResponse:
        seconds = None if timeout_ms is None else timeout_ms / 1000
        work = explain(service, ad.ad(), top_k=ad.top_k, timeout_seconds=seconds)
        answer, explanation = await unless_gone(request, work)
        return ClassifyResponse.of(ad, answer, explanation)

    @router.post("/classify", tags=["classify"], responses=DESCRIBED, dependencies=WithoutQuery)
    async def classify(
        request: Request,
        body: ClassifyRequest,
        service: Ready,
        timeout_ms: TimeoutHeader = None,
    ) -> ClassifyResponse:
        """Classify one ad; goes before the ads of batches. `explain` tells why."""
        if body.explain:
            return await explained(request, service, body, timeout_ms)
        answers = await answer(request, service, [body], Lane.INTERACTIVE, body.top_k, timeout_ms)
        return answers[0]

    class BatchRequest(AnyBatchRequest):
        """Body of `POST /classify/batch`."""

        ads: list[AdIn] = Field(
            min_length=1, max_length=settings.max_batch_ads, description="the ads"
        )

    @router.post(
        "/classify/batch", tags=["classify"], responses=DESCRIBED, dependencies=WithoutQuery
    )
    async def classify_batch(
        request: Request,
        body: BatchRequest,
        service: Ready,
        timeout_ms: TimeoutHeader = None,
    ) -> BatchResponse:
        """Classify several ads; the answers come in their order, all or none."""
        answers = await answer(request, service, body.ads, Lane.BULK, body.top_k, timeout_ms)
        return BatchResponse(results=answers)


def _add_model(router: APIRouter, settings: Settings) -> None:
    @router.get(
        "/model",
        name="get_model",
        tags=["model"],
        responses=responses(UnauthorizedError, InvalidRequestError, NotReadyError),
        dependencies=WithoutQuery,
    )
    async def model(service: Ready) -> ModelResponse:
        """Tell what is served: labels, limits, device and revision."""
        return ModelResponse.of(
            service.model,
            max_batch_ads=settings.max_batch_ads,
            max_body_bytes=settings.max_body_bytes,
            explain=settings.explain_concurrency > 0,
        )


def _add_health(app: FastAPI) -> None:
    @app.get("/health/live", tags=["health"])
    async def health_live() -> Health:
        """Answer as long as the process runs."""
        return Health(status="live")

    @app.get(
        "/health/ready", name="health_ready", tags=["health"], responses=responses(NotReadyError)
    )
    @app.get("/health", name="health", tags=["health"], responses=responses(NotReadyError))
    async def ready(service: Ready) -> Health:
        """Answer 200 when ads can be classified, else 503."""
        await service.require_ready()
        return Health(status="ready")


def _add_metrics(router: APIRouter | FastAPI, expose: Callable[[], Awaitable[bytes]]) -> None:
    errors = (UnauthorizedError,) if isinstance(router, APIRouter) else ()

    @router.get(
        "/metrics",
        name="metrics",
        tags=["operations"],
        response_class=PlainTextResponse,
        responses=responses(*errors),
    )
    async def prometheus() -> Response:
        """Give all metrics in Prometheus' text format."""
        return Response(await expose(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _exposition(metrics: Metrics) -> bytes:
    return metrics.exposition()


async def _document(request: Request) -> JSONResponse:
    return JSONResponse(request.app.openapi())


def _closed_links(settings: Settings) -> list[str]:
    """List what a browser may not open: it sends no key with an address."""
    open_to_all = {
        "docs": settings.docs_access == "open",
        "metrics": settings.metrics_access == "open",
        "model": not settings.api_keys,
    }
    return [address for address, is_open in open_to_all.items() if not is_open]


def _documented(app: FastAPI) -> list[tuple[str, list[int]]]:
    """List every documented route with its statuses, and with the one that is never sent."""
    return [
        (path, [*map(int, operation["responses"]), *([ClientLeftError.status] * (verb == "post"))])
        for path, operations in app.openapi()["paths"].items()
        for verb, operation in operations.items()
    ]
