"""An engine process of `--workers`: one device, one batcher for the ads of all front ends."""

import asyncio
import logging
import os
import pickle
import pkgutil

import zmq

from app.broker import Broker
from app.channel import unlimited
from app.errors import StartupError
from app.folder import MAX_ENGINES
from app.ledger import Ledger
from app.link import Devices, Drain, Failed, Gone, Link, Message, Ready
from app.loading import ENGINE, Loaded, load
from app.logs import configure_logs
from app.memory import give_back_regularly
from app.metrics import Metrics

log = logging.getLogger(__name__)


async def run(link: Link) -> None:
    """Load, then serve the front ends until the supervisor says otherwise."""
    start, ended = link.start, asyncio.Event()
    # Before anything is admitted there is nothing to finish.
    link.hear(lambda message: isinstance(message, Drain) and os._exit(0))
    loaded = await asyncio.to_thread(_load, link)
    ledger = Ledger.open(start.folder.ledger, start.settings.workers, MAX_ENGINES)
    batcher = loaded.batcher(
        start.settings,
        Metrics(status=start.folder.status),
        lambda error: link.tell(Failed(str(error))),
        ledger=ledger.only(range(start.number, start.number + 1)),
    )
    batcher.start()
    socket = unlimited(zmq.Context(), zmq.ROUTER)
    socket.bind(start.folder.address(start.number))
    broker = Broker(socket, batcher, loaded.model.heads)

    def hear(message: Message) -> None:
        if isinstance(message, Gone):
            broker.forget(message.identity.encode())
        else:
            ended.set()

    link.hear(hear)
    link.tell(Ready(str(loaded.model), loaded.model.revision))
    trimming = asyncio.create_task(give_back_regularly())
    await ended.wait()
    trimming.cancel()
    broker.close()
    await batcher.drain(0)


def _load(link: Link) -> Loaded:
    start = link.start
    settings, engine = start.settings, start.engine or ENGINE
    if start.number == 0:
        names = pkgutil.resolve_name(engine).devices(settings.device)
        link.tell(Devices(tuple(names)))
        settings = settings.model_copy(update={"device": names[0]})
    loaded = load(settings, engine)
    # Not read from the checkpoint again, which may be another one by then.
    start.folder.served(start.number).write_bytes(pickle.dumps((loaded.model, loaded.tokenizer)))
    return loaded


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


if __name__ == "__main__":
    main()
