"""The operators' route: let a running server take another checkpoint."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute

from app.errors import (
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
from app.serving.api.auth import BEARER, Keys
from app.serving.api.json_body import JsonRequest
from app.serving.api.problems import responses
from app.swapping import LOADING, Swapping

MAX_BODY_BYTES = 4096


def administration(keys: Keys) -> APIRouter:
    """Return the route, for whoever has one of the keys."""

    class AdminRoute(APIRoute):
        """Asks for a key, then reads the body, if there is one."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                await keys.require(request)
                if _has_body(request):
                    request = JsonRequest(request.scope, request.receive)
                    await request.load(MAX_BODY_BYTES, 1)
                return await handle(request)

            return guarded

    router = APIRouter(route_class=AdminRoute, dependencies=[Depends(BEARER)])

    @router.post(
        "/admin/model",
        tags=["operations"],
        responses=responses(
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
        swapper: Swapping | None = request.app.state.swapper
        if swapper is None:
            raise NotReadyError(LOADING)
        swap = await swapper.swap(body.model if body else None)
        return SwapResponse(
            old=ModelRef.of(swap.old.identity),
            new=ModelRef.of(swap.new.identity),
            changed=swap.changed,
            seconds=round(swap.seconds, 3),
        )

    return router


def _has_body(request: Request) -> bool:
    headers = request.headers
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
