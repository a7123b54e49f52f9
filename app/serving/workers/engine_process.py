"""An engine process of `--workers`: one device, which computes for all front ends.

It has one model, with a micro-batcher and a broker for it; during a swap it has the old and the
new one.
"""

import asyncio
import logging
import os
import pickle
import pkgutil
from collections.abc import Coroutine

import zmq

from app.core.errors import ServiceError, StartupError
from app.core.served_model import ServedModel
from app.serving.inference.hot_swap import checkpoint_refusal
from app.serving.inference.loading import (
    ENGINE,
    LoadedCheckpoint,
    identify_checkpoint,
    load_checkpoint,
)
from app.serving.logs import configure_logs
from app.serving.metrics import Metrics
from app.serving.process import run_in_short_lived_thread, trim_heap_regularly
from app.serving.scheduling.micro_batcher import MicroBatcher
from app.serving.scheduling.shared_counters import SharedCounters
from app.serving.workers.control_link import ControlLink
from app.serving.workers.control_messages import (
    CheckpointLoaded,
    CountSwap,
    DevicesFound,
    Drain,
    DropCheckpoint,
    FrontEndGone,
    LoadCheckpoint,
    Message,
    ProcessFailed,
    ProcessReady,
)
from app.serving.workers.engine_broker import EngineBroker
from app.serving.workers.runtime_folder import MAX_ENGINES
from app.serving.workers.zmq_channel import unlimited_socket

log = logging.getLogger(__name__)


class EngineProcess:
    """Loads, serves and drops the models of one device, as the supervisor's messages say."""

    def __init__(self, link: ControlLink) -> None:
        self._link, self._start = link, link.start
        self._settings, self._engine = link.start.settings, link.start.engine or ENGINE
        self._metrics = Metrics(status=link.start.folder.status)
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._generations: dict[int, tuple[EngineBroker, MicroBatcher, ServedModel]] = {}
        self._drained = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Load the first model, then serve the front ends until the supervisor sends `Drain`.

        Raises:
            StartupError: the model cannot be served.
        """
        # Until a request has been admitted there is nothing to finish.
        self._link.on_message(lambda message: isinstance(message, Drain) and os._exit(0))
        loaded = await run_in_short_lived_thread(self._load_first)
        self._serve(0, loaded)
        self._link.on_message(self._on_message)
        self._link.send(ProcessReady(loaded.model))
        trimming = asyncio.create_task(trim_heap_regularly())
        await self._drained.wait()
        trimming.cancel()
        for broker, batcher, _ in self._generations.values():
            broker.close()
            await batcher.drain(0)

    def _load_first(self) -> LoadedCheckpoint:
        if self._start.number == 0:
            names = pkgutil.resolve_name(self._engine).devices(self._settings.device)
            self._link.send(DevicesFound(tuple(names)))
            self._settings = self._settings.model_copy(update={"device": names[0]})
        return load_checkpoint(self._settings, self._engine)

    def _serve(self, generation: int, loaded: LoadedCheckpoint) -> None:
        """Start to take requests for a model."""
        start = self._start
        # Front ends do not read the checkpoint's folder: it may have other content by then.
        content = pickle.dumps((loaded.model, loaded.tokenizer))
        start.folder.served_model(start.number, generation).write_bytes(content)
        counters = SharedCounters.open(start.folder.counters, start.settings.workers, MAX_ENGINES)
        batcher = loaded.batcher(
            self._settings,
            self._metrics,
            lambda error: self._link.send(ProcessFailed(str(error))),
            next((batcher.admission for _, batcher, _ in self._generations.values()), None),
            counters.select_engines(range(start.number, start.number + 1)),
        )
        batcher.start()
        socket = unlimited_socket(self._context, zmq.ROUTER)
        socket.bind(start.folder.engine_address(start.number, generation))
        broker = EngineBroker(socket, batcher, loaded.model.heads)
        self._generations[generation] = (broker, batcher, loaded.model)

    def _on_message(self, message: Message) -> None:
        if isinstance(message, FrontEndGone):
            for broker, _, _ in self._generations.values():
                broker.drop_front_end(message.identity.encode())
        elif isinstance(message, LoadCheckpoint):
            self._run_task(self._load_next(message))
        elif isinstance(message, DropCheckpoint):
            self._run_task(self._drop(message.generation))
        elif isinstance(message, CountSwap):
            self._metrics.count_swap(message.result)
        else:
            self._drained.set()

    def _run_task(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load_next(self, message: LoadCheckpoint) -> None:
        result: ServedModel | ServiceError
        try:
            result = await self._load_and_serve(message)
        except Exception as error:  # noqa: BLE001  after any error the old model stays
            result = checkpoint_refusal(error)
        self._link.send(CheckpointLoaded(message.generation, result))

    async def _load_and_serve(self, message: LoadCheckpoint) -> ServedModel:
        _, _, current = self._generations[max(self._generations)]
        if await asyncio.to_thread(identify_checkpoint, message.folder) == current.identity:
            return current
        settings = self._settings.model_copy(update={"model": message.folder})
        loaded = await run_in_short_lived_thread(load_checkpoint, settings, self._engine)
        self._serve(message.generation, loaded)
        return loaded.model

    async def _drop(self, generation: int) -> None:
        if generation not in self._generations:  # this process could not load it
            return
        broker, batcher, _ = self._generations.pop(generation)
        broker.close()
        await batcher.retire()
        self._start.folder.served_model(self._start.number, generation).unlink()


def main() -> None:
    """Run as a child of the supervisor."""
    link = ControlLink.from_command_line()
    configure_logs(link.start.settings.log_format, link.start.name)
    try:
        asyncio.run(run(link))
    except StartupError as error:
        link.send(ProcessFailed(str(error)))
    except Exception:
        log.critical("the engine process ended", exc_info=True)
        os._exit(1)
    # A thread that hangs in the engine would keep the interpreter from ending.
    os._exit(0)


async def run(link: ControlLink) -> None:
    """Make the engine process inside the event loop, which its queues need, and run it."""
    await EngineProcess(link).run()


if __name__ == "__main__":
    main()
