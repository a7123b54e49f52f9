"""Middleware that limits how long a request's body may take to arrive."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import SlowBodyError

_LIFTED = "body_deadline_lifted"


def lift_body_deadline(scope: Scope) -> None:
    """Remove the limit for a request from here on; the caller has a limit of its own."""
    scope.setdefault("state", {})[_LIFTED] = True


class BodyDeadline:
    """Refuses a request whose body is not complete `seconds` after its headers."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app, self._seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        end = asyncio.get_running_loop().time() + self._seconds
        complete = False

        async def receive_in_time() -> Message:
            nonlocal complete
            if complete or scope.get("state", {}).get(_LIFTED):
                return await receive()
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError as error:
                raise SlowBodyError(
                    f"The body did not arrive within {self._seconds:g} s; "
                    "send it faster or in parts."
                ) from error
            complete = not message.get("more_body", False)
            return message

        await self._app(scope, receive_in_time, send)
