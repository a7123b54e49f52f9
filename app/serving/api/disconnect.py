"""Cancels the work for a request when its client disconnects."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from app.core.errors import ClientLeftError

Answer = TypeVar("Answer")


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Await `work`, and cancel it when the client disconnects first.

    Raises:
        ClientLeftError: the client disconnected; the answer could not be sent.
    """
    task = asyncio.current_task()
    assert task  # noqa: S101  for types: a coroutine runs in a task
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    # The work runs in this task: a task of its own would double the overhead of the route.
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
