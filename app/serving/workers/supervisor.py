"""The main process of `--workers`: starts the front ends and engine processes and watches them.

A front end that ends is replaced; an engine process that ends, ends the service. The supervisor
imports neither torch nor the HTTP framework.
"""

import asyncio
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
from app.serving.workers.child_process import SIGNALS, ChildProcess
from app.serving.workers.control_messages import (
    DevicesFound,
    Drain,
    EngineLost,
    FrontEndGone,
    Message,
    ProcessFailed,
    ProcessReady,
    ServeGeneration,
    StartProcess,
)
from app.serving.workers.rollout import Rollout
from app.serving.workers.runtime_folder import MAX_ENGINES, RuntimeFolder

log = logging.getLogger(__name__)

MAX_FAILURES, FAILURE_SECONDS = 5, 30.0
"""The service ends when this many front ends in this time end before they are ready."""

LOST_SECONDS = 10.0
"""How long front ends may take to fail their requests when an engine is lost."""


def supervise(settings: Settings, engine: str = "") -> int:
    """Serve with several processes until SIGTERM or SIGINT; return the exit code.

    Args:
        settings: the settings of the service.
        engine: the engine class as "module:name"; empty for the real one.

    Raises:
        StartupError: the service cannot start; one sentence for the operator.
    """
    configure_logs(settings.log_format)
    # By default SIGHUP ends the process; until a model is loaded there is nothing to reload.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    allow_many_connections()
    listeners = listen_reuse_port(settings.host, settings.port, settings.workers)
    with tempfile.TemporaryDirectory(prefix="doppelkopf-") as path:
        folder = RuntimeFolder(Path(path))
        folder.metrics.mkdir()
        return asyncio.run(Supervisor(settings, engine, listeners, folder).run())


class Supervisor:
    """Owns all child processes, and decides when the service is ready, ends and has ended."""

    def __init__(
        self, settings: Settings, engine: str, listeners: list[socket.socket], folder: RuntimeFolder
    ) -> None:
        self._settings, self._engine = settings, engine
        # Kept open here too, so that connections which a dead front end has not accepted wait for
        # the process that replaces it.
        self._listeners, self._folder = listeners, folder
        self._counters = SharedCounters.create(folder.counters, settings.workers, MAX_ENGINES)
        self._started = time.perf_counter()
        self._front_ends: list[ChildProcess] = []
        self._engines: list[ChildProcess] = []
        self._loaded_models: list[ServedModel] = []
        self._engine_count = 1
        self._rollout = Rollout(settings.model, self._engines, self._front_ends)
        self._failures: deque[float] = deque(maxlen=MAX_FAILURES)
        self._restarts = self._spawned_front_ends = 0
        self._exit_code: int | None = None
        """Set once the service has begun to end."""
        self._ended: asyncio.Future[int]

    async def run(self) -> int:
        """Start all processes; return the exit code when all have ended.

        Raises:
            StartupError: the service cannot start, or front ends cannot be replaced.
        """
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        for one in SIGNALS:
            loop.add_signal_handler(one, self._on_signal, one)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        host, port = self._listeners[0].getsockname()[:2]
        model = self._settings.model
        log.info("Doppelkopf listens on http://%s:%d and loads %s", host, port, model)
        self._start_engine(0, self._settings.device)
        for number in range(self._settings.workers):
            self._start_front_end(number)
        try:
            code = await self._ended
        finally:
            self._kill()
            # A process that still writes into the runtime folder would keep it from being removed.
            for child in self._children():
                child.process.wait()
        log.info("stopped")
        return code

    @property
    def _is_ready(self) -> bool:
        return len(self._loaded_models) == self._engine_count

    @property
    def _generation(self) -> ServeGeneration:
        return ServeGeneration(self._engine_count, self._rollout.generation)

    def _start_engine(self, number: int, device: str) -> None:
        settings = self._settings.model_copy(update={"device": device})
        start = StartProcess(
            f"engine-{number}", number, settings, self._folder, engine=self._engine
        )
        self._engines.append(self._spawn("app.serving.workers.engine_process", start))
        self._write_status()

    def _start_front_end(self, number: int) -> None:
        self._spawned_front_ends += 1
        name = f"worker-{number}"
        listener = self._listeners[number].fileno()
        start = StartProcess(
            name,
            number,
            self._settings,
            self._folder,
            identity=f"{name}.{self._spawned_front_ends}",
            listener=listener,
            serve=self._generation if self._is_ready else None,
        )
        self._front_ends.append(self._spawn("app.serving.workers.frontend", start, [listener]))
        self._write_status()

    def _spawn(
        self, module: str, start: StartProcess, inherited: Sequence[int] = ()
    ) -> ChildProcess:
        child = ChildProcess.spawn(module, start, inherited)
        asyncio.get_running_loop().add_reader(child.link.fileno(), self._receive, child)
        return child

    def _write_status(self) -> None:
        children = {child.start.name: child.process.pid for child in self._children()}
        self._folder.write_status(children, self._restarts)

    def _children(self) -> list[ChildProcess]:
        return [*self._engines, *self._front_ends]

    def _receive(self, child: ChildProcess) -> None:
        """Handle a child's message, or its end if the link is closed."""
        try:
            message: Message = child.link.recv()
        except (EOFError, OSError):
            self._on_exit(child)
            return
        if isinstance(message, ProcessFailed):
            self._fail(message.sentence)
        elif self._exit_code is not None:
            log.debug("message of %s ignored: the service ends", child.start.name)
        elif isinstance(message, DevicesFound):
            self._engine_count = min(len(message.names), MAX_ENGINES)
            for number in range(1, self._engine_count):
                self._start_engine(number, message.names[number])
        elif isinstance(message, ProcessReady):
            self._on_ready(child, message)
        else:
            self._rollout.on_message(child, message)

    def _on_ready(self, child: ChildProcess, message: ProcessReady) -> None:
        if child in self._front_ends:
            child.ready = True
            if self._is_ready:
                child.send(self._generation)
        elif message.model:
            self._loaded_models.append(message.model)
            if self._is_ready:
                self._serve()

    def _serve(self) -> None:
        if len({one.revision for one in self._loaded_models}) > 1:
            self._fail_start("The checkpoint changed while it was loaded; start again.")
            return
        seconds = time.perf_counter() - self._started
        log.info("ready after %.1f s: %s", seconds, "; ".join(map(str, self._loaded_models)))
        self._rollout.served_model = self._loaded_models[0]
        for front_end in self._front_ends:
            if front_end.ready:
                front_end.send(self._generation)

    def _on_exit(self, child: ChildProcess) -> None:
        asyncio.get_running_loop().remove_reader(child.link.fileno())
        how = child.wait()
        if child in self._front_ends:
            self._front_ends.remove(child)
            self._rollout.on_front_end_gone(child)
            self._clean_up_after(child)
            if self._exit_code is None:
                log.error("%s ended %s and is replaced", child.start.name, how)
                self._replace(child)
        else:
            self._engines.remove(child)
            if self._exit_code is None or self._front_ends:
                self._fail(f"The engine process ended {how}; the service has to restart.")
        self._continue_shutdown()

    def _clean_up_after(self, front_end: ChildProcess) -> None:
        """Remove an ended front end's metrics, its admitted ads and its queued requests."""
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(front_end.process.pid, str(self._folder.metrics))  # type: ignore[no-untyped-call]
        self._counters.clear(front_end.start.number)
        for engine in self._engines:
            engine.send(FrontEndGone(front_end.start.identity))

    def _replace(self, front_end: ChildProcess) -> None:
        now = time.monotonic()
        if not front_end.ready:
            self._failures.append(now)
            if len(self._failures) == MAX_FAILURES and now - self._failures[0] < FAILURE_SECONDS:
                self._fail_start(
                    f"Front ends ended {MAX_FAILURES} times within {FAILURE_SECONDS:g} s before "
                    "they could answer; the log lines above say why."
                )
                return
        self._restarts += 1
        try:
            self._start_front_end(front_end.start.number)
        except OSError as error:
            self._fail_start(f"No front end can be started: {error.strerror}.")

    def _fail(self, sentence: str) -> None:
        """End the service with an error; front ends fail their requests first, if it is ready."""
        if self._ended.done():
            return
        if not self._is_ready and self._exit_code is None:
            self._fail_start(sentence)
            return
        log.critical("the service ends: %s", sentence)
        self._shut_down(1, EngineLost(sentence))
        asyncio.get_running_loop().call_later(LOST_SECONDS, self._kill)

    def _fail_start(self, sentence: str) -> None:
        self._exit_code = 1
        if not self._ended.done():
            self._ended.set_exception(StartupError(sentence))

    def _on_signal(self, number: int) -> None:
        """Start to drain at the first signal; end everything at the second one."""
        if self._exit_code is None:
            self._shut_down(0, Drain())
            return
        log.warning("ended by a second signal; unfinished requests are lost")
        self._kill()
        shutil.rmtree(self._folder.path, ignore_errors=True)
        os._exit(128 + number)

    def _on_hangup(self) -> None:
        """Reload the configured checkpoint, unless the service is starting or ending."""
        if self._is_ready and self._exit_code is None:
            self._rollout.reload()

    def _shut_down(self, exit_code: int, message: Message) -> None:
        self._exit_code = exit_code
        # Front ends keep their own copies of the sockets, and answer new requests with 503.
        for listener in self._listeners:
            listener.close()
        for front_end in self._front_ends:
            front_end.send(message)
        self._continue_shutdown()

    def _continue_shutdown(self) -> None:
        """End the engine processes when the last front end has ended, then the service."""
        if self._exit_code is None or self._front_ends:
            return
        for engine in self._engines:
            engine.send(Drain())
        if not self._engines and not self._ended.done():
            self._ended.set_result(self._exit_code)

    def _kill(self) -> None:
        for child in self._children():
            child.process.kill()
