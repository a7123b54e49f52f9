"""Coalesces single-item calls to another machine into calls with many items.

A call costs both sides milliseconds, however much it carries. The more calls are in flight, the
longer an item waits for others to share its call; when none is in flight, it is sent at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

WAIT_SECONDS = 0.002
"""How long an item waits for others, for each call in flight: about what a call costs."""

MAX_WAIT_SECONDS = 0.05
MAX_ITEMS = 256


class CallCoalescer(Generic[Item, Result]):
    """Sends items in shared calls and returns each item's own result."""

    def __init__(self, send: Callable[[list[Item]], Awaitable[Sequence[Result]]]) -> None:
        """Set the coalescer up.

        Args:
            send: sends items and returns one result for each, in order.
        """
        self._send = send
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._in_flight: set[asyncio.Task[None]] = set()

    async def call(self, item: Item) -> Result:
        """Return an item's result; raise what the call that carried it raised.

        Cancelling it keeps the item from being sent. If it has been sent, the call is cancelled
        once all of its items are.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        if len(self._waiting) >= MAX_ITEMS:
            self._flush()
        elif not self._timer:
            wait = min(WAIT_SECONDS * len(self._in_flight), MAX_WAIT_SECONDS)
            self._timer = loop.call_later(wait, self._flush)
        return await future

    def _flush(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        items = [one for one in self._waiting if not one[1].done()]
        self._waiting = []
        if not items:
            return
        task = asyncio.create_task(self._send_items(items))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)
        futures = [future for _, future in items]
        for future in futures:
            future.add_done_callback(
                lambda _: task.cancel() if all(one.cancelled() for one in futures) else None
            )

    async def _send_items(self, items: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._send([item for item, _ in items])
        except Exception as error:  # noqa: BLE001  every caller gets it, whatever it is
            for _, future in items:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), result in zip(items, results, strict=True):
                if not future.done():
                    future.set_result(result)
