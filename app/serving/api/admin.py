"""`POST /admin/model`: operators let a running server load another checkpoint."""

from typing import Any

from fastapi import Request

from app.core.errors import (
    BodyTooLargeError,
    InvalidRequestError,
    MalformedBodyError,
    MediaTypeError,
    NotReadyError,
    SlowBodyError,
    SwapRunningError,
    UnauthorizedError,
)
from app.schemas.admin import SwapRequest, SwapResponse
from app.schemas.model import ModelRef
from app.serving.api.auth import ApiKeys
from app.serving.api.guarded_route import Guard, guarded_router
from app.serving.api.json_body import BodyLimits
from app.serving.api.problems import error_responses
from app.serving.api.state import ApplicationState, state_of
from app.serving.inference.hot_swap import LOADING
from app.serving.settings import Settings


def _admin_keys(state: ApplicationState[Any]) -> ApiKeys:
    return state.admin_keys


def _admin_limits(_: Settings) -> BodyLimits:
    return BodyLimits(max_bytes=4096, max_items=1)


admin_routes = guarded_router(Guard(_admin_keys, _admin_limits))


@admin_routes.post(
    "/admin/model",
    tags=["operations"],
    responses=error_responses(
        MalformedBodyError,
        UnauthorizedError,
        SlowBodyError,
        SwapRunningError,
        BodyTooLargeError,
        MediaTypeError,
        InvalidRequestError,
        NotReadyError,
    ),
)
async def replace_model(request: Request, body: SwapRequest | None = None) -> SwapResponse:
    """Load a checkpoint beside the served one, then let it answer instead.

    The answer comes once it does. One that is damaged is refused with 422, and the served one
    goes on; so it does with 409 where another is being loaded.
    """
    swapper = state_of(request.app).swapper
    if swapper is None:
        raise NotReadyError(LOADING)
    swap = await swapper.swap(body.model if body else None)
    return SwapResponse(
        old=ModelRef.of(swap.old.identity),
        new=ModelRef.of(swap.new.identity),
        changed=swap.changed,
        seconds=round(swap.seconds, 3),
    )
