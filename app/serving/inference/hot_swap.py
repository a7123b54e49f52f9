"""A running server takes another checkpoint: loaded beside the one that it serves, then swapped."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from app.core.errors import (
    CheckpointRefusedError,
    FatalEngineError,
    NotReadyError,
    ServiceError,
    StartupError,
    SwapRunningError,
)
from app.core.served_model import RUNNING, Swap
from app.serving.inference.loading import ENGINE, identify, load
from app.serving.inference.service import Service
from app.serving.metrics import Metrics
from app.serving.model_store import checkpoint_folder
from app.serving.settings import Settings
from app.serving.process import run_in_short_lived_thread

log = logging.getLogger(__name__)

QUIET_SECONDS = 2.0
"""So long nobody asks a service that was replaced, and it goes; see `Service.retire`."""

LEAVING_SECONDS = 60.0
"""So long a swap waits for the end of what the swap before replaced."""

LOADING = "The model is still loading; try again in a few seconds."


Load = Callable[[Path], Awaitable[Callable[[], Service]]]
"""Verifies, loads and warms up a checkpoint; what it returns puts it into service."""


class Swapping(Protocol):
    """How a process has its model replaced: by a `Swapper` of its own, or by its supervisor."""

    async def swap(self, name: str | None = None) -> Swap:
        """See `Swapper.swap`."""

    async def drain(self) -> None:
        """Let nothing begin any more, and settle what the replaced model has not answered."""


class HoldsService(Protocol):
    """Where requests find their service: an application's state."""

    service: Service | None


class Swapper:
    """Replaces an application's service, one at a time; requests keep the one they began with."""

    def __init__(
        self,
        serving: HoldsService,
        model: Path,
        load: Load,
        identify: Callable[[Path], tuple[str, str]],
        metrics: Metrics,
        quiet_seconds: float = QUIET_SECONDS,
    ) -> None:
        """Take what to replace and how.

        Args:
            serving: holds the service.
            model: the setting.
            load: see `Load`; raises a `StartupError` where the checkpoint cannot be served.
            identify: verifies a checkpoint and returns its name and revision; likewise. Called in
                a thread.
            metrics: where swaps are counted.
            quiet_seconds: see `Service.retire`.
        """
        self._serving, self._model, self._load, self._identify = serving, model, load, identify
        self._metrics, self._quiet_seconds = metrics, quiet_seconds
        self._turn = asyncio.Lock()
        self._again = False
        self._old: Service | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None

    async def swap(self, name: str | None = None) -> Swap:
        """Serve another checkpoint of the model store, or what the setting leads to by now.

        Returns:
            Once whoever asks gets answers of the new one.

        Raises:
            SwapRunningError: another swap is not over.
            InvalidRequestError: `name` names nothing in the store.
            CheckpointRefusedError: it cannot be served; says why. The old one goes on.
            NotReadyError: the service is still loading, or ends.
        """
        if self._turn.locked():
            raise SwapRunningError(RUNNING)
        return await self._swap(checkpoint_folder(self._model, name))

    async def swap_to_path(self, model: Path) -> Swap:
        """Serve a checkpoint that lies anywhere, once a running swap is over; else as `swap`."""
        return await self._swap(model)

    def reload(self) -> None:
        """Begin to swap to what the setting leads to; a second call meanwhile, once more then."""
        self._again = True
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._reread())

    async def drain(self) -> None:
        """Let nothing begin any more, and settle what the replaced model has not answered."""
        if self._reading:
            self._reading.cancel()
        if self._old and self._leaving and self._leaving.cancel():
            await self._old.drain(0)

    async def _reread(self) -> None:
        while self._again:
            try:
                await self._swap(self._model)
            except ServiceError as error:
                log.error("the model was not replaced: %s", error)

    async def _swap(self, folder: Path) -> Swap:
        async with self._turn:
            if folder is self._model:
                self._again = False
            swap = await self._replace(folder)
            log.info("the service %s", swap)
            return swap

    async def _replace(self, folder: Path) -> Swap:
        started = time.perf_counter()
        old = await self._service()
        try:
            identity = await asyncio.to_thread(self._identify, folder)
            if identity == old.model.identity:
                self._metrics.count_swap("unchanged")
                return Swap(old.model, old.model, time.perf_counter() - started)
            await self._until_two_fit()
            put_into_service = await self._load(folder)
        except SwapRunningError:
            raise
        except Exception as error:
            self._metrics.count_swap("refused")
            raise refusal(error) from error
        # It may have begun to drain, or have lost its device, meanwhile.
        await self._service()
        new = self._serving.service = put_into_service()
        self._metrics.count_swap("ok")
        self._old, self._leaving = old, asyncio.create_task(old.retire(self._quiet_seconds))
        return Swap(old.model, new.model, time.perf_counter() - started)

    async def _until_two_fit(self) -> None:
        """Wait until nobody needs the one before any more: memory is planned for two at once."""
        if self._leaving:
            await asyncio.wait({self._leaving}, timeout=LEAVING_SECONDS)
            if not self._leaving.done():
                raise SwapRunningError(
                    "The model that was replaced last still answers; try again later."
                )

    async def _service(self) -> Service:
        service = self._serving.service
        if service is None:
            raise NotReadyError(LOADING)
        await service.require_ready()
        return service


async def load_service(
    serving: HoldsService,
    settings: Settings,
    metrics: Metrics,
    on_fatal: Callable[[FatalEngineError], None],
    engine: str = ENGINE,
) -> tuple[Service, Swapper]:
    """Load the checkpoint that is set; return its service, and what replaces it in `serving`.

    Args:
        serving: will hold the service.
        settings: what to load and how.
        metrics: where everything is recorded.
        on_fatal: called once the device is lost.
        engine: the name of what computes.

    Raises:
        StartupError: with one sentence, where the service cannot begin.
    """
    loaded = await run_in_short_lived_thread(load, settings, engine)
    batcher = loaded.batcher(settings, metrics, on_fatal)

    async def load_beside(model: Path) -> Callable[[], Service]:
        chosen = settings.model_copy(update={"model": model})
        beside = await run_in_short_lived_thread(load, chosen, engine)

        def put_into_service() -> Service:
            successor = beside.batcher(settings, metrics, on_fatal, batcher.house)
            return Service(beside.model, beside.tokenizer, successor, metrics)

        return put_into_service

    service = Service(loaded.model, loaded.tokenizer, batcher, metrics)
    return service, Swapper(serving, settings.model, load_beside, identify, metrics)


def refusal(error: Exception) -> CheckpointRefusedError:
    """Return what to say of a checkpoint that could not be loaded; logs what no sentence tells."""
    if isinstance(error, StartupError):
        return CheckpointRefusedError(str(error))
    log.error("a checkpoint could not be loaded", exc_info=error)
    if isinstance(error, MemoryError) or "out of memory" in str(error):
        return CheckpointRefusedError("There is no memory to load it beside the served one.")
    return CheckpointRefusedError("It could not be loaded; the server's log tells why.")
