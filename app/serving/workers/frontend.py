"""A front end of `--workers`: takes requests, reads and tokenizes them, and names the answers.

It never loads torch: what it serves comes from an engine process.
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
from app.serving.process import give_back_regularly
from app.serving.scheduling.admission import POLL_SECONDS, AdmissionController
from app.serving.scheduling.shared_counters import SharedCounters
from app.serving.server.single_process import http_server
from app.serving.workers.control_link import Link
from app.serving.workers.control_messages import (
    Drain,
    EngineLost,
    Failed,
    Message,
    Ready,
    Serve,
    SwapResult,
)
from app.serving.workers.frontend_swap import RemoteSwapper
from app.serving.workers.remote_batcher import RemoteBatcher
from app.serving.workers.runtime_folder import MAX_ENGINES
from app.serving.workers.zmq_channel import unlimited
from app.text.tokenization import AdTokenizer

log = logging.getLogger(__name__)


class FrontEnd:
    """The application of one process, and what the supervisor tells it."""

    def __init__(self, link: Link) -> None:
        self._link, self._start = link, link.start
        settings = self._start.settings
        self._metrics = Metrics(status=self._start.folder.status)
        self._app = create_app(settings, self._load, self._metrics, on_failure=self._fail)
        self._state: ApplicationState[Service] = state_of(self._app)
        self._swapper = RemoteSwapper(self._state, link, self._serve)
        self._server = http_server(self._app, settings)
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._serving: asyncio.Future[Serve]
        self._house: AdmissionController | None = None
        self._remotes: list[RemoteBatcher] = []
        """Of the served model, and of one before that is not settled yet."""
        self._background: list[asyncio.Task[None]] = []

    def run(self) -> None:
        """Answer until the supervisor says otherwise, and what was admitted then."""
        with socket.socket(fileno=self._start.listener) as listener:
            self._server.run(sockets=[listener])

    async def _load(self) -> Service:
        start = self._start
        self._serving = asyncio.get_running_loop().create_future()
        self._background.append(asyncio.create_task(give_back_regularly()))
        self._link.hear(self._hear)
        self._link.tell(Ready())
        if start.serve:
            # No wait here: a successor accepts nobody before it can answer.
            self._serving.set_result(start.serve)
        serve = await self._serving
        service = self._put_into_service(serve, *self._read(serve))
        self._state.swapper = self._swapper
        self._swapper.begin(serve.generation)
        return service

    async def _serve(self, serve: Serve) -> Service:
        try:
            # In a thread: a tokenizer takes a while to unpack.
            read = await asyncio.to_thread(self._read, serve)
            return self._put_into_service(serve, *read)
        except Exception:
            log.critical("the new model cannot be taken", exc_info=True)
            # A successor may; all others serve it by now.
            self._server.should_exit = True
            raise

    def _read(self, serve: Serve) -> tuple[ServedModel, AdTokenizer]:
        folder = self._start.folder
        served = [
            pickle.loads(folder.served(number, serve.generation).read_bytes())  # noqa: S301  our own
            for number in range(serve.engines)
        ]
        model, tokenizer = served[0]
        devices = ", ".join(one.device for one, _ in served)
        return dataclasses.replace(model, device=devices), tokenizer

    def _put_into_service(
        self, serve: Serve, model: ServedModel, tokenizer: AdTokenizer
    ) -> Service:
        self._house = self._house or self._open_house(serve.engines)
        sockets = []
        for number in range(serve.engines):
            dealer = unlimited(self._context, zmq.DEALER)
            dealer.setsockopt(zmq.IDENTITY, self._start.identity.encode())
            dealer.connect(self._start.folder.address(number, serve.generation))
            sockets.append(dealer)
        remote = RemoteBatcher(self._house, sockets, labels_of(model.heads))
        self._remotes = [*self._remotes[-1:], remote]
        return Service(model, tokenizer, remote, self._metrics)

    def _open_house(self, engines: int) -> AdmissionController:
        start = self._start
        rows = start.settings.workers
        ledger = SharedCounters.open(start.folder.ledger, rows, MAX_ENGINES, start.number)
        return AdmissionController(
            start.settings.max_queued_ads,
            start.settings.max_queue_seconds,
            ledger.only(range(engines)),
            self._metrics,
            poll_seconds=POLL_SECONDS if rows > 1 else None,
        )

    def _hear(self, message: Message) -> None:
        if isinstance(message, Serve):
            if self._serving.done():
                self._swapper.serve(message)
            else:
                self._serving.set_result(message)
        elif isinstance(message, SwapResult):
            self._swapper.settle(message)
        elif isinstance(message, EngineLost | Drain):
            if isinstance(message, EngineLost):
                for remote in self._remotes:
                    remote.lose(FatalEngineError(message.sentence))
            self._server.should_exit = True

    def _fail(self, error: Exception) -> None:
        self._link.tell(Failed(str(error)))


def main() -> None:
    """Run as a child of the supervisor."""
    link = Link.from_command_line()
    configure_logs(link.start.settings.log_format, link.start.name)
    FrontEnd(link).run()
    os._exit(0)


if __name__ == "__main__":
    main()
