"""Requests that come close together travel as one.

A call to another machine costs both sides milliseconds, whatever it carries. The more calls are
under way, the longer the next one waits for company; alone, it goes at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

PAUSE_SECONDS = 0.002
"""Waited for company, for each call under way: about what a call costs."""

MAX_PAUSE_SECONDS = 0.05
MAX_ITEMS = 256


class CallCoalescer(Generic[Item, Result]):
    """Gives each item its result, and sends several at once."""

    def __init__(self, send: Callable[[list[Item]], Awaitable[Sequence[Result]]]) -> None:
        """Take what sends items and returns a result for each, in order."""
        self._send = send
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    async def ask(self, item: Item) -> Result:
        """Return an item's result; raise what sending it and those with it raised.

        Cancelling the call keeps the item back, or if it has gone and nobody waits for those that
        went with it either, cancels their sending.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        if len(self._waiting) >= MAX_ITEMS:
            self._go()
        elif not self._timer:
            pause = min(PAUSE_SECONDS * len(self._under_way), MAX_PAUSE_SECONDS)
            self._timer = loop.call_later(pause, self._go)
        return await future

    def _go(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        wanted = [one for one in self._waiting if not one[1].done()]
        self._waiting = []
        if not wanted:
            return
        task = asyncio.create_task(self._carry(wanted))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        futures = [future for _, future in wanted]
        for future in futures:
            future.add_done_callback(
                lambda _: task.cancel() if all(one.cancelled() for one in futures) else None
            )

    async def _carry(self, wanted: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._send([item for item, _ in wanted])
        except Exception as error:  # noqa: BLE001  whatever it is, whoever waits is told
            for _, future in wanted:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), result in zip(wanted, results, strict=True):
                if not future.done():
                    future.set_result(result)
