"""An engine process of `--workers`: one device, one batcher a model for the ads of all front ends.

There is one model, but for the time in which another one replaces it.
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
from app.serving.inference.hot_swap import refusal
from app.serving.inference.loading import ENGINE, Loaded, identify, load
from app.serving.logs import configure_logs
from app.serving.metrics import Metrics
from app.serving.process import give_back_regularly, run_in_short_lived_thread
from app.serving.scheduling.micro_batcher import MicroBatcher
from app.serving.scheduling.shared_counters import SharedCounters
from app.serving.workers.control_link import Link
from app.serving.workers.control_messages import (
    CheckpointLoaded,
    CountSwap,
    Devices,
    Drain,
    DropCheckpoint,
    Failed,
    FrontEndGone,
    LoadCheckpoint,
    Message,
    Ready,
)
from app.serving.workers.engine_broker import Broker
from app.serving.workers.runtime_folder import MAX_ENGINES
from app.serving.workers.zmq_channel import unlimited

log = logging.getLogger(__name__)


class EngineProcess:
    """The models of one device by their generations, and what the supervisor tells of them."""

    def __init__(self, link: Link) -> None:
        self._link, self._start = link, link.start
        self._settings, self._engine = link.start.settings, link.start.engine or ENGINE
        self._metrics = Metrics(status=link.start.folder.status)
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._desks: dict[int, tuple[Broker, MicroBatcher, ServedModel]] = {}
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Load, then serve the front ends until the supervisor says otherwise."""
        # Before anything is admitted there is nothing to finish.
        self._link.hear(lambda message: isinstance(message, Drain) and os._exit(0))
        loaded = await run_in_short_lived_thread(self._load_first)
        self._open(0, loaded)
        self._link.hear(self._hear)
        self._link.tell(Ready(loaded.model))
        trimming = asyncio.create_task(give_back_regularly())
        await self._ended.wait()
        trimming.cancel()
        for broker, batcher, _ in self._desks.values():
            broker.close()
            await batcher.drain(0)

    def _load_first(self) -> Loaded:
        if self._start.number == 0:
            names = pkgutil.resolve_name(self._engine).devices(self._settings.device)
            self._link.tell(Devices(tuple(names)))
            self._settings = self._settings.model_copy(update={"device": names[0]})
        return load(self._settings, self._engine)

    def _open(self, generation: int, loaded: Loaded) -> None:
        """Take requests for a model."""
        start = self._start
        # Not read from the checkpoint again, which may be another one by then.
        content = pickle.dumps((loaded.model, loaded.tokenizer))
        start.folder.served(start.number, generation).write_bytes(content)
        ledger = SharedCounters.open(start.folder.ledger, start.settings.workers, MAX_ENGINES)
        batcher = loaded.batcher(
            self._settings,
            self._metrics,
            lambda error: self._link.tell(Failed(str(error))),
            next((batcher.house for _, batcher, _ in self._desks.values()), None),
            ledger.only(range(start.number, start.number + 1)),
        )
        batcher.start()
        socket = unlimited(self._context, zmq.ROUTER)
        socket.bind(start.folder.address(start.number, generation))
        broker = Broker(socket, batcher, loaded.model.heads)
        self._desks[generation] = (broker, batcher, loaded.model)

    def _hear(self, message: Message) -> None:
        if isinstance(message, FrontEndGone):
            for broker, _, _ in self._desks.values():
                broker.forget(message.identity.encode())
        elif isinstance(message, LoadCheckpoint):
            self._begin(self._load_beside(message))
        elif isinstance(message, DropCheckpoint):
            self._begin(self._drop(message.generation))
        elif isinstance(message, CountSwap):
            self._metrics.count_swap(message.result)
        else:
            self._ended.set()

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load_beside(self, message: LoadCheckpoint) -> None:
        result: ServedModel | ServiceError
        try:
            result = await self._loaded(message)
        except Exception as error:  # noqa: BLE001  whatever it is, the served one goes on
            result = refusal(error)
        self._link.tell(CheckpointLoaded(message.generation, result))

    async def _loaded(self, message: LoadCheckpoint) -> ServedModel:
        _, _, served = self._desks[max(self._desks)]
        if await asyncio.to_thread(identify, message.folder) == served.identity:
            return served
        settings = self._settings.model_copy(update={"model": message.folder})
        loaded = await run_in_short_lived_thread(load, settings, self._engine)
        self._open(message.generation, loaded)
        return loaded.model

    async def _drop(self, generation: int) -> None:
        if generation not in self._desks:  # refused by this process itself
            return
        broker, batcher, _ = self._desks.pop(generation)
        broker.close()
        await batcher.retire()
        self._start.folder.served(self._start.number, generation).unlink()


def main() -> None:
    """Run as a child of the supervisor."""
    link = Link.from_command_line()
    configure_logs(link.start.settings.log_format, link.start.name)
    try:
        asyncio.run(run(link))
    except StartupError as error:
        link.tell(Failed(str(error)))
    except Exception:
        log.critical("the engine process ended", exc_info=True)
        os._exit(1)
    # A thread that hangs in the engine would keep the interpreter from ending.
    os._exit(0)


async def run(link: Link) -> None:
    """Run inside an event loop."""
    await EngineProcess(link).run()


if __name__ == "__main__":
    main()
