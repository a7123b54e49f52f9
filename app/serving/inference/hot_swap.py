"""Hot swap: a running server loads another checkpoint while it serves the old one, then swaps."""

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
from app.core.served_model import SWAP_RUNNING, CompletedSwap
from app.serving.inference.loading import ENGINE, identify_checkpoint, load_checkpoint
from app.serving.inference.service import Service
from app.serving.metrics import Metrics
from app.serving.model_store import checkpoint_folder
from app.serving.process import run_in_short_lived_thread
from app.serving.settings import Settings

log = logging.getLogger(__name__)

QUIET_SECONDS = 2.0
"""How long a replaced service must have had no call before it retires; see `Service.retire`."""

MAX_RETIRING_SECONDS = 60.0
"""How long a swap waits for the service that the previous swap replaced to retire."""

LOADING = "The model is still loading; try again in a few seconds."

LoadCheckpointService = Callable[[Path], Awaitable[Callable[[], Service]]]
"""Verifies, loads and warms up a checkpoint; returns a function that makes its service."""


class ModelSwapper(Protocol):
    """Replaces a process's model: a `Swapper`, or a client of the supervisor in a front end."""

    async def swap(self, name: str | None = None) -> CompletedSwap:
        """See `Swapper.swap`."""

    async def drain(self) -> None:
        """See `Swapper.drain`."""


class HoldsService(Protocol):
    """The object that requests get their service from: an application's state."""

    service: Service | None


class Swapper:
    """Replaces an application's service, one swap at a time; running requests keep theirs.

    Args:
        state: holds the service.
        model: the setting `MODEL`.
        load_checkpoint: loads a checkpoint; raises a `StartupError` if it cannot be served.
        identify_checkpoint: verifies a checkpoint and returns its name and revision, or raises a
            `StartupError`. Called in a thread.
        metrics: where swaps are counted.
        quiet_seconds: see `Service.retire`.
    """

    def __init__(
        self,
        state: HoldsService,
        model: Path,
        load_checkpoint: LoadCheckpointService,
        identify_checkpoint: Callable[[Path], tuple[str, str]],
        metrics: Metrics,
        quiet_seconds: float = QUIET_SECONDS,
    ) -> None:
        self._state, self._model, self._load, self._identify = (
            state,
            model,
            load_checkpoint,
            identify_checkpoint,
        )
        self._metrics, self._quiet_seconds = metrics, quiet_seconds
        self._swapping = asyncio.Lock()
        self._reload_again = False
        self._old: Service | None = None
        self._retiring: asyncio.Task[None] | None = None
        self._reloading: asyncio.Task[None] | None = None

    async def swap(self, name: str | None = None) -> CompletedSwap:
        """Serve the checkpoint `name` of the model store; None: the setting, read again.

        Returns:
            The completed swap, once all new requests are answered by the new checkpoint.

        Raises:
            SwapRunningError: another swap is running.
            InvalidRequestError: `name` is not the name of a folder in the store.
            CheckpointRefusedError: it cannot be served; says why. The old one stays.
            NotReadyError: the service is still loading, or shutting down.
        """
        if self._swapping.locked():
            raise SwapRunningError(SWAP_RUNNING)
        return await self._swap(checkpoint_folder(self._model, name))

    async def swap_to_path(self, model: Path) -> CompletedSwap:
        """Serve the checkpoint in any folder; waits for a running swap, otherwise as `swap`."""
        return await self._swap(model)

    def reload(self) -> None:
        """Swap to the configured checkpoint, in the background; logs a failure.

        A call during such a swap causes one more swap after it.
        """
        self._reload_again = True
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.create_task(self._reload())

    async def drain(self) -> None:
        """Start no more reloads, and fail the requests that the replaced model has not answered."""
        if self._reloading:
            self._reloading.cancel()
        if self._old and self._retiring and self._retiring.cancel():
            await self._old.drain(0)

    async def _reload(self) -> None:
        while self._reload_again:
            try:
                await self._swap(self._model)
            except ServiceError as error:
                log.error("the model was not replaced: %s", error)

    async def _swap(self, folder: Path) -> CompletedSwap:
        async with self._swapping:
            if folder is self._model:
                self._reload_again = False
            swap = await self._replace(folder)
            log.info("the service %s", swap)
            return swap

    async def _replace(self, folder: Path) -> CompletedSwap:
        started = time.perf_counter()
        old = await self._ready_service()
        try:
            identity = await asyncio.to_thread(self._identify, folder)
            if identity == old.model.identity:
                self._metrics.count_swap("unchanged")
                return CompletedSwap(old.model, old.model, time.perf_counter() - started)
            await self._wait_for_retirement()
            make_service = await self._load(folder)
        except SwapRunningError:
            raise
        except Exception as error:
            self._metrics.count_swap("refused")
            raise checkpoint_refusal(error) from error
        # While it loaded, the service may have started to drain, or lost its device.
        await self._ready_service()
        new = self._state.service = make_service()
        self._metrics.count_swap("ok")
        self._old, self._retiring = old, asyncio.create_task(old.retire(self._quiet_seconds))
        return CompletedSwap(old.model, new.model, time.perf_counter() - started)

    async def _wait_for_retirement(self) -> None:
        """Wait until the service replaced before has retired: memory suffices for two models."""
        if self._retiring:
            await asyncio.wait({self._retiring}, timeout=MAX_RETIRING_SECONDS)
            if not self._retiring.done():
                raise SwapRunningError(
                    "The model that was replaced last still answers; try again later."
                )

    async def _ready_service(self) -> Service:
        service = self._state.service
        if service is None:
            raise NotReadyError(LOADING)
        await service.require_ready()
        return service


async def load_service(
    state: HoldsService,
    settings: Settings,
    metrics: Metrics,
    on_fatal: Callable[[FatalEngineError], None],
    engine: str = ENGINE,
) -> tuple[Service, Swapper]:
    """Load the configured checkpoint; return its service and the swapper that can replace it.

    Args:
        state: will hold the service; the swapper replaces it there.
        settings: the checkpoint, the device and the limits.
        metrics: where everything is recorded.
        on_fatal: called once the device is lost.
        engine: the name of the engine's class.

    Raises:
        StartupError: the checkpoint cannot be served; one sentence.
    """
    loaded = await run_in_short_lived_thread(load_checkpoint, settings, engine)
    batcher = loaded.batcher(settings, metrics, on_fatal)

    async def load_successor(model: Path) -> Callable[[], Service]:
        its_settings = settings.model_copy(update={"model": model})
        successor = await run_in_short_lived_thread(load_checkpoint, its_settings, engine)

        def make_service() -> Service:
            its_batcher = successor.batcher(settings, metrics, on_fatal, batcher.admission)
            return Service(successor.model, successor.tokenizer, its_batcher, metrics)

        return make_service

    service = Service(loaded.model, loaded.tokenizer, batcher, metrics)
    return service, Swapper(state, settings.model, load_successor, identify_checkpoint, metrics)


def checkpoint_refusal(error: Exception) -> CheckpointRefusedError:
    """Return the client's error for a checkpoint that could not be loaded; log unexpected ones."""
    if isinstance(error, StartupError):
        return CheckpointRefusedError(str(error))
    log.error("a checkpoint could not be loaded", exc_info=error)
    if isinstance(error, MemoryError) or "out of memory" in str(error):
        return CheckpointRefusedError("There is no memory to load it beside the served one.")
    return CheckpointRefusedError("It could not be loaded; the server's log tells why.")
