"""Routes: who may call comes first, then what was sent, then the endpoint."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from app.errors import InvalidRequestError, NotReadyError
from app.service import Classifier
from app.serving.api.json_body import VALUES_AN_AD, JsonRequest

if TYPE_CHECKING:
    from fastapi._compat import ModelField

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


# Not awaiting anything, and coroutines all the same: the framework would call them in threads.
async def get_service(request: Request) -> Classifier:
    """Return the service of a ready application.

    Raises:
        NotReadyError: the checkpoint is still loading.
    """
    service: Classifier | None = request.app.state.service
    if service is None:
        raise NotReadyError("The model is still loading; try again in a few seconds.")
    return service


async def without_query(request: Request) -> None:
    """Refuse options in the address, which nothing would heed.

    Raises:
        InvalidRequestError: names the first.
    """
    for name in request.query_params:
        raise InvalidRequestError(f"query.{name}: send it in the body, or leave it out.")


class GuardedRoute(APIRoute):
    """Asks for a key, then reads a JSON body, both before the framework does anything.

    An endpoint with a body is one of `request`, `body`, `service` and `timeout_ms`, and returns a
    model. It is called without the framework, which solves these anew for every request and takes
    half of a front end's time for it; the document is still made of what the framework knows.
    """

    values_an_ad = VALUES_AN_AD

    def get_route_handler(self) -> Handler:
        """Put the guard before the handler."""
        handle = self._short_way() if self.body_field else super().get_route_handler()

        async def guarded(request: Request) -> Response:
            await request.app.state.keys.require(request)
            return await handle(request)

        return guarded

    def _short_way(self) -> Handler:
        (timeout,), endpoint = self.dependant.header_params, self.endpoint
        body_field, answer_field = self.body_field, self.response_field
        assert body_field  # noqa: S101  for types: such an endpoint has both
        assert answer_field  # noqa: S101

        async def handle(request: Request) -> Response:
            settings = request.app.state.settings
            request = JsonRequest(request.scope, request.receive)
            await request.load(settings.max_body_bytes, settings.max_batch_ads, self.values_an_ad)
            await without_query(request)
            service = await get_service(request)
            given = request.headers.get(timeout.alias)
            timeout_ms = None if given is None else _valid(timeout, given, "header", timeout.alias)
            body = _valid(body_field, await request.json(), "body")
            answer = await endpoint(request, body, service, timeout_ms)
            content = answer_field.serialize_json(answer)
            return Response(content, media_type="application/json")

        return handle


def _valid(field: "ModelField", value: Any, *place: str) -> Any:
    found, errors = field.validate(value, {}, loc=place)
    if errors:
        raise RequestValidationError(errors)
    return found
