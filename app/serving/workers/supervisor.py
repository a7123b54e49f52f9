"""The main process of `--workers`: starts front ends and engine processes, and stands by them.

A front end that dies is replaced; an engine that dies ends the service. It imports neither torch
nor the HTTP framework.
"""

import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from app.core.errors import StartupError
from app.core.served_model import ServedModel
from app.serving.logs import configure_logs
from app.serving.scheduling.shared_counters import SharedCounters
from app.serving.server.sockets import allow_many_connections, listen_reuse_port
from app.serving.settings import Settings
from app.serving.workers.child_process import SIGNALS, Child
from app.serving.workers.control_messages import (  # fmt: skip
    CheckpointLoaded,
    Devices,
    Drain,
    EngineLost,
    Failed,
    FrontEndGone,
    Message,
    NowServing,
    OldRequestsDone,
    Ready,
    Serve,
    Start,
    SwapRequested,
)
from app.serving.workers.rollout import Rollout
from app.serving.workers.runtime_folder import MAX_ENGINES, RuntimeFolder

log = logging.getLogger(__name__)

MAX_FAILURES, FAILURE_SECONDS = 5, 30.0
"""So many front ends that end in so short a time before they answer, and the service ends."""

LOST_SECONDS = 10.0
"""What front ends have to tell everyone that the engine is lost."""


def supervise(settings: Settings, engine: str = "") -> int:
    """Serve with several processes until a signal comes; return the exit code.

    Args:
        settings: what to serve and how.
        engine: the name of what computes, in place of the real one.

    Raises:
        StartupError: with one sentence, where the service cannot begin.
    """
    configure_logs(settings.log_format)
    # Until there is a model that could be replaced; it would end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    allow_many_connections()
    listeners = listen_reuse_port(settings.host, settings.port, settings.workers)
    with tempfile.TemporaryDirectory(prefix="doppelkopf-") as path:
        folder = RuntimeFolder(Path(path))
        folder.metrics.mkdir()
        return asyncio.run(Supervisor(settings, engine, listeners, folder).run())


class Supervisor:
    """Knows all processes, and when the service is ready, ending and over."""

    def __init__(
        self, settings: Settings, engine: str, listeners: list[socket.socket], folder: RuntimeFolder
    ) -> None:
        self._settings, self._engine = settings, engine
        # Open here as well: what nobody has accepted yet waits for a dead front end's successor.
        self._listeners, self._folder = listeners, folder
        self._ledger = SharedCounters.create(folder.ledger, settings.workers, MAX_ENGINES)
        self._begin = time.perf_counter()
        self._workers: list[Child] = []
        self._engines: list[Child] = []
        self._ready: list[ServedModel] = []
        self._wanted_engines = 1
        self._rollout = Rollout(settings.model, self._engines, self._workers)
        self._failures: deque[float] = deque(maxlen=MAX_FAILURES)
        self._restarts = self._started = 0
        self._code: int | None = None
        self._over: asyncio.Future[int]

    async def run(self) -> int:
        """Start everything; return when everything has ended."""
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        for one in SIGNALS:
            loop.add_signal_handler(one, self._take_signal, one)
        loop.add_signal_handler(signal.SIGHUP, self._reread)
        host, port = self._listeners[0].getsockname()[:2]
        model = self._settings.model
        log.info("Doppelkopf listens on http://%s:%d and loads %s", host, port, model)
        self._start_engine(0, self._settings.device)
        for number in range(self._settings.workers):
            self._start_worker(number)
        try:
            code = await self._over
        finally:
            self._kill()
            # Whoever still wrote into the folder would keep it from going.
            for child in self._children():
                child.process.wait()
        log.info("stopped")
        return code

    @property
    def _serving(self) -> bool:
        return len(self._ready) == self._wanted_engines

    @property
    def _to_serve(self) -> Serve:
        return Serve(self._wanted_engines, self._rollout.generation)

    def _start_engine(self, number: int, device: str) -> None:
        settings = self._settings.model_copy(update={"device": device})
        start = Start(f"engine-{number}", number, settings, self._folder, engine=self._engine)
        self._engines.append(self._start("app.serving.workers.engine_process", start))
        self._note()

    def _start_worker(self, number: int) -> None:
        self._started += 1
        name = f"worker-{number}"
        listener = self._listeners[number].fileno()
        start = Start(
            name, number, self._settings, self._folder, f"{name}.{self._started}", listener,
            serve=self._to_serve if self._serving else None,
        )  # fmt: skip
        self._workers.append(self._start("app.serving.workers.frontend", start, [listener]))
        self._note()

    def _start(self, module: str, start: Start, inherited: Sequence[int] = ()) -> Child:
        child = Child.begin(module, start, inherited)
        asyncio.get_running_loop().add_reader(child.link.fileno(), self._hear, child)
        return child

    def _note(self) -> None:
        """Write down what `app.serving.metrics` reads: the processes, and how many were replaced."""
        children = {child.start.name: child.process.pid for child in self._children()}
        status = {
            "processes": {"supervisor": os.getpid(), **children},
            "restarts": self._restarts,
        }
        beside = self._folder.status.with_suffix(".new")
        beside.write_text(json.dumps(status), encoding="ascii")
        beside.replace(self._folder.status)

    def _children(self) -> list[Child]:
        return [*self._engines, *self._workers]

    def _hear(self, child: Child) -> None:
        """Take what a child says, or note that it has ended."""
        try:
            message = child.link.recv()
        except (EOFError, OSError):
            self._bury(child)
            return
        if isinstance(message, Failed):
            self._fail(message.sentence)
        elif self._code is not None:
            log.debug("%s says something too late", child.start.name)
        elif isinstance(message, Devices):
            self._wanted_engines = min(len(message.names), MAX_ENGINES)
            for number in range(1, self._wanted_engines):
                self._start_engine(number, message.names[number])
        elif isinstance(message, Ready):
            self._take_ready(child, message)
        elif isinstance(message, SwapRequested):
            self._rollout.want(child, message)
        elif isinstance(message, CheckpointLoaded):
            self._rollout.loaded(child, message)
        elif isinstance(message, NowServing):
            self._rollout.serving(child, message)
        elif isinstance(message, OldRequestsDone):
            self._rollout.settled(child, message)

    def _take_ready(self, child: Child, message: Ready) -> None:
        if child in self._workers:
            child.ready = True
            if self._serving:
                child.tell(self._to_serve)
        elif message.model:
            self._ready.append(message.model)
            if self._serving:
                self._serve()

    def _serve(self) -> None:
        if len({one.revision for one in self._ready}) > 1:
            self._fail_start("The checkpoint changed while it was loaded; start again.")
            return
        seconds = time.perf_counter() - self._begin
        log.info("ready after %.1f s: %s", seconds, "; ".join(map(str, self._ready)))
        self._rollout.served = self._ready[0]
        for worker in self._workers:
            if worker.ready:
                worker.tell(self._to_serve)

    def _bury(self, child: Child) -> None:
        asyncio.get_running_loop().remove_reader(child.link.fileno())
        child.link.close()
        code = child.process.wait()
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        if child in self._workers:
            self._workers.remove(child)
            self._rollout.buried(child)
            self._clear_up(child)
            if self._code is None:
                log.error("%s ended %s and is replaced", child.start.name, how)
                self._replace(child)
        else:
            self._engines.remove(child)
            if self._code is None or self._workers:
                self._fail(f"The engine process ended {how}; the service has to restart.")
        self._go_on_ending()

    def _clear_up(self, worker: Child) -> None:
        """Leave nothing counted, queued or shown of a front end that is no more."""
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.process.pid, str(self._folder.metrics))  # type: ignore[no-untyped-call]
        self._ledger.clear(worker.start.number)
        for engine in self._engines:
            engine.tell(FrontEndGone(worker.start.identity))

    def _replace(self, worker: Child) -> None:
        now = time.monotonic()
        if not worker.ready:
            self._failures.append(now)
            if len(self._failures) == MAX_FAILURES and now - self._failures[0] < FAILURE_SECONDS:
                self._fail_start(
                    f"Front ends ended {MAX_FAILURES} times within {FAILURE_SECONDS:g} s before "
                    "they could answer; the lines above tell why."
                )
                return
        self._restarts += 1
        try:
            self._start_worker(worker.start.number)
        except OSError as error:
            self._fail_start(f"No front end can be started: {error.strerror}.")

    def _fail(self, sentence: str) -> None:
        """End: before everything was ready, with a sentence; later, by telling everyone."""
        if self._over.done():
            return
        if not self._serving and self._code is None:
            self._fail_start(sentence)
            return
        log.critical("the service ends: %s", sentence)
        self._end(1, EngineLost(sentence))
        asyncio.get_running_loop().call_later(LOST_SECONDS, self._kill)

    def _fail_start(self, sentence: str) -> None:
        self._code = 1
        if not self._over.done():
            self._over.set_exception(StartupError(sentence))

    def _take_signal(self, number: int) -> None:
        """Begin to drain at the first signal; end everything at the second one."""
        if self._code is None:
            self._end(0, Drain())
            return
        log.warning("ended by a second signal; what was unfinished is lost")
        self._kill()
        shutil.rmtree(self._folder.path, ignore_errors=True)
        os._exit(128 + number)

    def _reread(self) -> None:
        # Before everything is ready there is nothing to replace.
        if self._serving and self._code is None:
            self._rollout.reload()

    def _end(self, code: int, message: Message) -> None:
        self._code = code
        # Newcomers are refused by the front ends that still are there, and by nobody else.
        for listener in self._listeners:
            listener.close()
        for worker in self._workers:
            worker.tell(message)
        self._go_on_ending()

    def _go_on_ending(self) -> None:
        """Engines end when the last front end has."""
        if self._code is None or self._workers:
            return
        for engine in self._engines:
            engine.tell(Drain())
        if not self._engines and not self._over.done():
            self._over.set_result(self._code)

    def _kill(self) -> None:
        for child in self._children():
            child.process.kill()
