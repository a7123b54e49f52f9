"""A front end of `--workers`: HTTP, tokenization and answers; the engine processes compute.

It never imports torch: the tokenizer and the model's labels come from an engine process.
"""

import asyncio
import dataclasses
import logging
import os
import pickle
import socket

import zmq

from app.core.errors import FatalEngineError
from app.core.head_labels import labels_of
from app.core.served_model import ServedModel
from app.serving.api.application import create_app
from app.serving.api.state import ApplicationState, state_of
from app.serving.inference.service import Service
from app.serving.logs import configure_logs
from app.serving.metrics import Metrics
from app.serving.process import trim_heap_regularly
from app.serving.scheduling.admission import POLL_SECONDS, AdmissionController
from app.serving.scheduling.shared_counters import SharedCounters
from app.serving.server.single_process import http_server
from app.serving.workers.control_link import ControlLink
from app.serving.workers.control_messages import (
    Drain,
    EngineLost,
    Message,
    ProcessFailed,
    ProcessReady,
    ServeGeneration,
    SwapResult,
)
from app.serving.workers.frontend_swap import FrontEndSwapper
from app.serving.workers.remote_batcher import RemoteBatcher
from app.serving.workers.runtime_folder import MAX_ENGINES
from app.serving.workers.zmq_channel import unlimited_socket
from app.text.tokenization import AdTokenizer

log = logging.getLogger(__name__)


class FrontEnd:
    """The HTTP application of one process, and its reactions to the supervisor's messages."""

    def __init__(self, link: ControlLink) -> None:
        self._link, self._start = link, link.start
        settings = self._start.settings
        self._metrics = Metrics(status=self._start.folder.status)
        self._app = create_app(settings, self._load, self._metrics, on_failure=self._on_failure)
        self._state: ApplicationState[Service] = state_of(self._app)
        self._swapper = FrontEndSwapper(self._state, link, self._make_service)
        self._server = http_server(self._app, settings)
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._first_generation: asyncio.Future[ServeGeneration]
        self._admission: AdmissionController | None = None
        self._batchers: list[RemoteBatcher] = []
        """Of the served model and of the previous one, which may have requests left."""
        self._background: list[asyncio.Task[None]] = []

    def run(self) -> None:
        """Serve until the supervisor sends `Drain` or `EngineLost`, then finish admitted work."""
        with socket.socket(fileno=self._start.listener) as listener:
            self._server.run(sockets=[listener])

    async def _load(self) -> Service:
        start = self._start
        self._first_generation = asyncio.get_running_loop().create_future()
        self._background.append(asyncio.create_task(trim_heap_regularly()))
        self._link.on_message(self._on_message)
        self._link.send(ProcessReady())
        if start.serve:
            # Without a wait: a process that replaces another accepts connections only once it can
            # answer.
            self._first_generation.set_result(start.serve)
        serve = await self._first_generation
        service = self._put_into_service(serve, *self._read_served_model(serve))
        self._state.swapper = self._swapper
        self._swapper.serving_first(serve.generation)
        return service

    async def _make_service(self, serve: ServeGeneration) -> Service:
        try:
            # In a thread: a tokenizer takes a while to unpickle.
            model, tokenizer = await asyncio.to_thread(self._read_served_model, serve)
            return self._put_into_service(serve, model, tokenizer)
        except Exception:
            log.critical("the new model cannot be taken", exc_info=True)
            # The other front ends serve it by now; the supervisor replaces this process.
            self._server.should_exit = True
            raise

    def _read_served_model(self, serve: ServeGeneration) -> tuple[ServedModel, AdTokenizer]:
        folder = self._start.folder
        served = [
            pickle.loads(folder.served_model(engine, serve.generation).read_bytes())  # noqa: S301  our own
            for engine in range(serve.engines)
        ]
        model, tokenizer = served[0]
        devices = ", ".join(one.device for one, _ in served)
        return dataclasses.replace(model, device=devices), tokenizer

    def _put_into_service(
        self, serve: ServeGeneration, model: ServedModel, tokenizer: AdTokenizer
    ) -> Service:
        self._admission = self._admission or self._open_admission(serve.engines)
        sockets = []
        for engine in range(serve.engines):
            dealer = unlimited_socket(self._context, zmq.DEALER)
            dealer.setsockopt(zmq.IDENTITY, self._start.identity.encode())
            dealer.connect(self._start.folder.engine_address(engine, serve.generation))
            sockets.append(dealer)
        batcher = RemoteBatcher(self._admission, sockets, labels_of(model.heads))
        self._batchers = [*self._batchers[-1:], batcher]
        return Service(model, tokenizer, batcher, self._metrics)

    def _open_admission(self, engines: int) -> AdmissionController:
        start = self._start
        rows = start.settings.workers
        counters = SharedCounters.open(start.folder.counters, rows, MAX_ENGINES, start.number)
        return AdmissionController(
            start.settings.max_queued_ads,
            start.settings.max_queue_seconds,
            counters.select_engines(range(engines)),
            self._metrics,
            poll_seconds=POLL_SECONDS if rows > 1 else None,
        )

    def _on_message(self, message: Message) -> None:
        if isinstance(message, ServeGeneration):
            if self._first_generation.done():
                self._swapper.on_serve_generation(message)
            else:
                self._first_generation.set_result(message)
        elif isinstance(message, SwapResult):
            self._swapper.on_swap_result(message)
        elif isinstance(message, EngineLost | Drain):
            if isinstance(message, EngineLost):
                for batcher in self._batchers:
                    batcher.fail_all(FatalEngineError(message.sentence))
            self._server.should_exit = True

    def _on_failure(self, error: Exception) -> None:
        self._link.send(ProcessFailed(str(error)))


def main() -> None:
    """Run as a child of the supervisor."""
    link = ControlLink.from_command_line()
    configure_logs(link.start.settings.log_format, link.start.name)
    FrontEnd(link).run()
    os._exit(0)


if __name__ == "__main__":
    main()
