"""Routes about the service itself: `/model`, `/health`, `/metrics` and `/openapi.json`."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from app.core.errors import InvalidRequestError, NotReadyError, UnauthorizedError
from app.schemas.model import Health, ModelResponse
from app.serving.api.dependencies import WITHOUT_QUERY, ReadyService
from app.serving.api.guarded_route import guarded_router
from app.serving.api.problems import error_responses
from app.serving.api.state import state_of

health_routes = APIRouter(tags=["health"])
model_routes = guarded_router()


@health_routes.get("/health/live")
async def health_live() -> Health:
    """Answer as long as the process runs."""
    return Health(status="live")


@health_routes.get("/health/ready", name="health_ready", responses=error_responses(NotReadyError))
@health_routes.get("/health", name="health", responses=error_responses(NotReadyError))
async def ready(service: ReadyService) -> Health:
    """Answer 200 when ads can be classified, else 503."""
    await service.require_ready()
    return Health(status="ready")


@model_routes.get(
    "/model",
    tags=["model"],
    responses=error_responses(UnauthorizedError, InvalidRequestError, NotReadyError),
    dependencies=[WITHOUT_QUERY],
)
async def get_model(request: Request, service: ReadyService) -> ModelResponse:
    """Tell what is served: labels, limits, device and revision."""
    settings = state_of(request.app).settings
    return ModelResponse.of(
        service.model,
        max_batch_ads=settings.max_batch_ads,
        max_body_bytes=settings.max_body_bytes,
        explain=settings.explain_concurrency > 0,
    )


def add_metrics(
    router: APIRouter | FastAPI, expose: Callable[[], Awaitable[bytes]], *, needs_key: bool
) -> None:
    """Add `GET /metrics`.

    Args:
        router: gets the route.
        expose: returns all metrics in Prometheus' text format.
        needs_key: whether the router requires an API key; the OpenAPI document then says so.
    """

    @router.get(
        "/metrics",
        name="metrics",
        tags=["operations"],
        response_class=PlainTextResponse,
        responses=error_responses(*([UnauthorizedError] if needs_key else [])),
    )
    async def prometheus() -> Response:
        """Give all metrics in Prometheus' text format."""
        return Response(await expose(), media_type="text/plain; version=0.0.4; charset=utf-8")


def add_openapi_document(router: APIRouter | FastAPI) -> None:
    """Add `GET /openapi.json`."""

    async def openapi_document(request: Request) -> JSONResponse:
        return JSONResponse(request.app.openapi())

    router.add_api_route("/openapi.json", openapi_document, include_in_schema=False)
