"""A front end of `--workers`: takes requests, reads and tokenizes them, and names the answers.

It never loads torch: what it serves comes from an engine process.
"""

import asyncio
import dataclasses
import os
import pickle
import socket

import zmq

from app.admission import POLL_SECONDS, House
from app.api import create_app
from app.channel import unlimited
from app.errors import FatalEngineError
from app.folder import MAX_ENGINES
from app.heads import labels_of
from app.ledger import Ledger
from app.link import Failed, Link, Lost, Message, Ready, Serve
from app.logs import configure_logs
from app.memory import give_back_regularly
from app.metrics import Metrics
from app.remote import Remote
from app.served import ServedModel
from app.server import http_server
from app.service import Service
from app.tokenization import AdTokenizer


class FrontEnd:
    """The application of one process, and what the supervisor tells it."""

    def __init__(self, link: Link) -> None:
        self._link, self._start = link, link.start
        settings = self._start.settings
        self._metrics = Metrics(status=self._start.folder.status)
        app = create_app(settings, self._load, self._metrics, on_failure=self._fail)
        self._server = http_server(app, settings)
        self._serving: asyncio.Future[int]
        self._remote: Remote | None = None
        self._background: list[asyncio.Task[None]] = []

    def run(self) -> None:
        """Answer until the supervisor says otherwise, and what was admitted then."""
        with socket.socket(fileno=self._start.listener) as listener:
            self._server.run(sockets=[listener])

    async def _load(self) -> Service:
        self._serving = asyncio.get_running_loop().create_future()
        self._background.append(asyncio.create_task(give_back_regularly()))
        self._link.hear(self._hear)
        self._link.tell(Ready())
        if self._start.engines:
            # No wait here: a successor accepts nobody before it can answer.
            self._serving.set_result(self._start.engines)
        engines = await self._serving
        model, tokenizer = self._served(engines)
        self._remote = self._connect(engines, model)
        return Service(model, tokenizer, self._remote, self._metrics)

    def _served(self, engines: int) -> tuple[ServedModel, AdTokenizer]:
        served = [
            pickle.loads(self._start.folder.served(number).read_bytes())  # noqa: S301  our own
            for number in range(engines)
        ]
        model, tokenizer = served[0]
        devices = ", ".join(one.device for one, _ in served)
        return dataclasses.replace(model, device=devices), tokenizer

    def _connect(self, engines: int, model: ServedModel) -> Remote:
        start, context = self._start, zmq.Context()
        sockets = []
        for number in range(engines):
            dealer = unlimited(context, zmq.DEALER)
            dealer.setsockopt(zmq.IDENTITY, start.identity.encode())
            dealer.connect(start.folder.address(number))
            sockets.append(dealer)
        rows = start.settings.workers
        ledger = Ledger.open(start.folder.ledger, rows, MAX_ENGINES, start.number)
        house = House(
            start.settings.max_queued_ads,
            start.settings.max_queue_seconds,
            ledger.only(range(engines)),
            self._metrics,
            poll_seconds=POLL_SECONDS if rows > 1 else None,
        )
        return Remote(house, sockets, labels_of(model.heads))

    def _hear(self, message: Message) -> None:
        if isinstance(message, Serve):
            if not self._serving.done():
                self._serving.set_result(message.engines)
            return
        if isinstance(message, Lost) and self._remote:
            self._remote.lose(FatalEngineError(message.sentence))
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
