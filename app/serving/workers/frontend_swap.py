"""A front end's part of a checkpoint swap: requests it from the supervisor, and carries it out."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

from app.core.errors import NotReadyError
from app.core.served_model import CompletedSwap
from app.serving.inference.hot_swap import LOADING, QUIET_SECONDS, HoldsService
from app.serving.inference.service import Service
from app.serving.scheduling.admission import DRAINING
from app.serving.workers.control_link import ControlLink
from app.serving.workers.control_messages import (
    NowServing,
    OldRequestsDone,
    ServeGeneration,
    SwapRequested,
    SwapResult,
)


class FrontEndSwapper:
    """Replaces one front end's service when the supervisor says so.

    New requests go to the new service; requests that began with the old one finish there.
    """

    def __init__(
        self,
        state: HoldsService,
        link: ControlLink,
        make_service: Callable[[ServeGeneration], Awaitable[Service]],
        quiet_seconds: float = QUIET_SECONDS,
    ) -> None:
        """Set the swapper up.

        Args:
            state: holds the service.
            link: to the supervisor.
            make_service: returns the service of a generation.
            quiet_seconds: see `Service.retire`.
        """
        self._state, self._link, self._make_service = state, link, make_service
        self._quiet_seconds = quiet_seconds
        self._generation = 0
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[CompletedSwap]] = {}
        self._replacing: asyncio.Task[None] | None = None
        self._old: Service | None = None

    async def swap(self, name: str | None = None) -> CompletedSwap:
        """Return once every front end serves the new checkpoint; see `Swapper.swap`."""
        if self._state.service is None:
            raise NotReadyError(LOADING)
        await self._state.service.require_ready()
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._link.send(SwapRequested(number, name))
            return await self._waiting[number]
        finally:
            del self._waiting[number]

    async def drain(self) -> None:
        """Fail the swaps that clients wait for, and the unanswered requests of the old service."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(NotReadyError(DRAINING))
        if self._old and self._replacing and self._replacing.cancel():
            await self._old.drain(0)

    def on_swap_result(self, message: SwapResult) -> None:
        """Return the result to the call of `swap` that waits for it."""
        future = self._waiting.get(message.number)
        if future is None or future.done():
            return
        if isinstance(message.result, CompletedSwap):
            future.set_result(message.result)
        else:
            future.set_exception(message.result)

    def serving_first(self, generation: int) -> None:
        """Report the generation that this front end serves first."""
        self._generation = generation
        self._link.send(NowServing(generation))
        self._link.send(OldRequestsDone(generation))

    def on_serve_generation(self, message: ServeGeneration) -> None:
        """Start to serve a newer generation.

        The supervisor sends it only after all front ends have finished the previous swap.
        """
        if message.generation > self._generation:
            self._generation = message.generation
            self._replacing = asyncio.create_task(self._replace(message))

    async def _replace(self, message: ServeGeneration) -> None:
        service = await self._make_service(message)
        self._old, self._state.service = self._state.service, service
        self._link.send(NowServing(message.generation))
        if self._old:
            await self._old.retire(self._quiet_seconds)
            self._old = None
        self._link.send(OldRequestsDone(message.generation))
