"""The server process: socket, checkpoint, engine, batcher and HTTP put together."""

import asyncio
import logging
import os
import signal
import time
from functools import partial

import uvicorn
from fastapi import FastAPI

from app.core.errors import FatalEngineError, StartupError
from app.serving.api.application import create_app
from app.serving.api.state import ApplicationState, state_of
from app.serving.inference.hot_swap import load_service
from app.serving.inference.loading import ENGINE
from app.serving.inference.service import Service
from app.serving.logs import configure_logs
from app.serving.metrics import Metrics
from app.serving.process import give_back_regularly
from app.serving.server.graceful_shutdown import DrainingServer
from app.serving.server.http_connection import CLOSING_SECONDS, KEEP_ALIVE_SECONDS, Connection
from app.serving.server.sockets import BACKLOG, allow_many_connections, listen
from app.serving.settings import Settings

log = logging.getLogger(__name__)


def serve(settings: Settings, engine: str = ENGINE) -> int:
    """Serve until a signal comes; return the process's exit code.

    Where the engine is lost the process ends here, with 1: a thread that hangs in it would keep the
    interpreter from ending.

    Args:
        settings: what to serve and how.
        engine: the name of what computes.

    Raises:
        StartupError: with one sentence, where the service cannot begin.
    """
    started = time.perf_counter()
    configure_logs(settings.log_format)
    allow_many_connections()
    listener = listen(settings.host, settings.port)
    metrics = Metrics()
    failures: list[Exception] = []
    background: list[asyncio.Task[None]] = []  # the loop itself would forget them

    def stop(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    async def load() -> Service:
        service, swapper = await load_service(state, settings, metrics, stop, engine)
        background.append(asyncio.create_task(give_back_regularly()))
        state.swapper = swapper
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, swapper.reload)
        log.info("ready after %.1f s: %s", time.perf_counter() - started, service.model)
        return service

    app = create_app(settings, load, metrics, on_failure=stop)
    state: ApplicationState[Service] = state_of(app)
    server = http_server(app, settings)
    server.handle_signals()
    host, port = listener.getsockname()[:2]
    log.info("Doppelkopf listens on http://%s:%d and loads %s", host, port, settings.model)
    server.run(sockets=[listener])
    for error in failures:
        if isinstance(error, StartupError):
            raise error
        log.critical("the service ended: %s", error, exc_info=error)
        if isinstance(error, FatalEngineError):
            os._exit(1)
    log.info("stopped")
    return 1 if failures else 0


def http_server(app: FastAPI, settings: Settings) -> DrainingServer:
    """Return the server of an application, which runs on the sockets it is given."""
    return DrainingServer(
        uvicorn.Config(
            app,
            http=partial(Connection, client_seconds=settings.client_seconds),  # type: ignore[arg-type]  # whatever makes one
            # Nothing here speaks WebSocket; a request to upgrade is answered as if it did not ask.
            ws="none",
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            log_config=None,
            access_log=False,  # ours knows the stages, and never the raw path
            server_header=False,
            # All work is done by then; a connection that lasts longer is cut off.
            timeout_graceful_shutdown=2 * CLOSING_SECONDS,
        )
    )
