"""Routes that check the API key and the body before FastAPI or the endpoint does anything."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from app.serving.api.auth import BEARER, ApiKeys
from app.serving.api.dependencies import get_service, without_query
from app.serving.api.json_body import BodyLimits, JsonRequest
from app.serving.api.state import ApplicationState, state_of
from app.serving.settings import Settings

if TYPE_CHECKING:
    from fastapi._compat import ModelField

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def api_keys(state: ApplicationState[Any]) -> ApiKeys:
    """Return the keys of the application's clients."""
    return state.api_keys


def ad_limits(settings: Settings) -> BodyLimits:
    """Return the limits of a body that holds ads."""
    return BodyLimits(settings.max_body_bytes, settings.max_batch_ads)


@dataclass(frozen=True, slots=True)
class Guard:
    """What a request needs to pass before its endpoint is called.

    Args:
        keys: gives the accepted keys.
        limits: gives the limits of a JSON body.
    """

    keys: Callable[[ApplicationState[Any]], ApiKeys]
    limits: Callable[[Settings], BodyLimits]


CLIENT_GUARD = Guard(api_keys, ad_limits)
"""For clients that send ads."""


class GuardedRoute(APIRoute):
    """Checks the API key, then reads and parses a JSON body; FastAPI comes after both.

    An endpoint whose body is required takes exactly `request`, `body`, `service` and `timeout_ms`,
    and returns a model. It is called without FastAPI's dependency solving, which takes half of a
    front end's time for a request; the OpenAPI document is still made of what FastAPI knows. All
    other endpoints are called by FastAPI.
    """

    guard = CLIENT_GUARD

    def get_route_handler(self) -> Handler:
        """Return the function that answers a request."""
        guard = self.guard
        has_required_body = self.body_field is not None and self.body_field.field_info.is_required()
        handle = self._direct_handler() if has_required_body else super().get_route_handler()
        has_optional_body = self.body_field is not None and not has_required_body

        async def guarded(request: Request) -> Response:
            state = state_of(request.app)
            await guard.keys(state).require(request)
            if has_required_body or (has_optional_body and _has_body(request)):
                request = JsonRequest(request.scope, request.receive)
                await request.load(guard.limits(state.settings))
            return await handle(request)

        return guarded

    def _direct_handler(self) -> Handler:
        (timeout,), endpoint = self.dependant.header_params, self.endpoint
        body_field, answer_field = self.body_field, self.response_field
        assert body_field  # noqa: S101  for types: such an endpoint has both
        assert answer_field  # noqa: S101

        async def handle(request: Request) -> Response:
            await without_query(request)
            service = await get_service(request)
            given = request.headers.get(timeout.alias)
            timeout_ms = None if given is None else _valid(timeout, given, "header", timeout.alias)
            body = _valid(body_field, await request.json(), "body")
            answer = await endpoint(request, body, service, timeout_ms)
            content = answer_field.serialize_json(answer)
            return Response(content, media_type="application/json")

        return handle


def guarded_router(guard: Guard = CLIENT_GUARD) -> APIRouter:
    """Return a router all of whose routes have one guard."""

    # A class holds the guard, since including a router rebuilds its routes from their class alone.
    class Route(GuardedRoute):
        pass

    Route.guard = guard
    return APIRouter(route_class=Route, dependencies=[Depends(BEARER)])


def _has_body(request: Request) -> bool:
    headers = request.headers
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _valid(field: "ModelField", value: Any, *place: str) -> Any:
    found, errors = field.validate(value, {}, loc=place)
    if errors:
        raise RequestValidationError(errors)
    return found
