"""Another checkpoint as a front end has it: asked of the supervisor, and taken when it says so."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

from app.core.errors import NotReadyError
from app.core.served_model import Swap
from app.serving.inference.hot_swap import LOADING, QUIET_SECONDS, HoldsService
from app.serving.inference.service import Service
from app.serving.scheduling.admission import DRAINING
from app.serving.workers.control_link import Link
from app.serving.workers.control_messages import (
    NowServing,
    OldRequestsDone,
    Serve,
    SwapRequested,
    SwapResult,
)


class RemoteSwapper:
    """Replaces one front end's service, as all others do; requests keep the one they began with."""

    def __init__(
        self,
        state: HoldsService,
        link: Link,
        make: Callable[[Serve], Awaitable[Service]],
        quiet_seconds: float = QUIET_SECONDS,
    ) -> None:
        """Take what to replace and how.

        Args:
            state: holds the service.
            link: to the supervisor.
            make: gives the service of a generation.
            quiet_seconds: see `Service.retire`.
        """
        self._state, self._link, self._make = state, link, make
        self._quiet_seconds = quiet_seconds
        self._generation = 0
        self._numbers = count(1)
        self._wanted: dict[int, asyncio.Future[Swap]] = {}
        self._leaving: asyncio.Task[None] | None = None
        self._old: Service | None = None

    async def swap(self, name: str | None = None) -> Swap:
        """See `Swapper.swap`; every front end serves the new one then."""
        if self._state.service is None:
            raise NotReadyError(LOADING)
        await self._state.service.require_ready()
        number = next(self._numbers)
        self._wanted[number] = asyncio.get_running_loop().create_future()
        try:
            self._link.tell(SwapRequested(number, name))
            return await self._wanted[number]
        finally:
            del self._wanted[number]

    async def drain(self) -> None:
        """Let nothing begin any more, and settle what the replaced model has not answered."""
        for future in self._wanted.values():
            if not future.done():
                future.set_exception(NotReadyError(DRAINING))
        if self._old and self._leaving and self._leaving.cancel():
            await self._old.drain(0)

    def settle(self, outcome: SwapResult) -> None:
        """Take what became of a request."""
        future = self._wanted.get(outcome.number)
        if future is None or future.done():
            return
        if isinstance(outcome.result, Swap):
            future.set_result(outcome.result)
        else:
            future.set_exception(outcome.result)

    def begin(self, generation: int) -> None:
        """Note what is served at first."""
        self._generation = generation
        self._link.tell(NowServing(generation))
        self._link.tell(OldRequestsDone(generation))

    def serve(self, message: Serve) -> None:
        """Serve a generation; the one before is settled by then, the supervisor sees to it."""
        if message.generation > self._generation:
            self._generation = message.generation
            self._leaving = asyncio.create_task(self._serve(message))

    async def _serve(self, message: Serve) -> None:
        service = await self._make(message)
        self._old, self._state.service = self._state.service, service
        self._link.tell(NowServing(message.generation))
        if self._old:
            await self._old.retire(self._quiet_seconds)
            self._old = None
        self._link.tell(OldRequestsDone(message.generation))
