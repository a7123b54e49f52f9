"""How long the application waits for a request's body."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import SlowBodyError

LIFTED = "body_deadline_lifted"


def lift(scope: Scope) -> None:
    """Let a request's body take its time from here on; who calls it has a limit of its own."""
    scope.setdefault("state", {})[LIFTED] = True


class BodyDeadline:
    """Refuses bodies that have not arrived whole some seconds after their head."""

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
            if complete or scope.get("state", {}).get(LIFTED):
                return await receive()
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError as error:
                raise SlowBodyError(
                    f"The body was not there within {self._seconds:g} s; "
                    "send it faster or in parts."
                ) from error
            complete = not message.get("more_body", False)
            return message

        await self._app(scope, receive_in_time, send)
