"""Serves with one process: socket, checkpoint, engine, batcher and HTTP application."""

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
from app.serving.process import trim_heap_regularly
from app.serving.server.graceful_shutdown import DrainingServer
from app.serving.server.http_connection import CLOSING_SECONDS, KEEP_ALIVE_SECONDS, HttpConnection
from app.serving.server.sockets import BACKLOG, allow_many_connections, listen
from app.serving.settings import Settings

log = logging.getLogger(__name__)


def serve(settings: Settings, engine: str = ENGINE) -> int:
    """Serve until SIGTERM or SIGINT; return the process's exit code.

    If the device is lost, the process exits here with 1, because a thread that hangs in the engine
    would keep the interpreter from ending.

    Args:
        settings: the settings of the service.
        engine: the engine class as "module:name".

    Raises:
        StartupError: the service cannot start; one sentence for the operator.
    """
    started = time.perf_counter()
    configure_logs(settings.log_format)
    allow_many_connections()
    listener = listen(settings.host, settings.port)
    metrics = Metrics()
    failures: list[Exception] = []
    background: list[asyncio.Task[None]] = []  # the event loop keeps weak references only

    def stop(error: Exception) -> None:
        failures.append(error)
        server.should_exit = True

    async def load() -> Service:
        service, swapper = await load_service(state, settings, metrics, stop, engine)
        background.append(asyncio.create_task(trim_heap_regularly()))
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
    """Return a server for the application; `run` takes the sockets to listen on."""
    return DrainingServer(
        uvicorn.Config(
            app,
            http=partial(HttpConnection, client_seconds=settings.client_seconds),  # type: ignore[arg-type]  # uvicorn calls it as a class
            # There are no WebSocket routes; an upgrade request is answered as plain HTTP.
            ws="none",
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            log_config=None,
            access_log=False,  # `Telemetry` writes it, with stages and without the raw path
            server_header=False,
            # The application has drained by then; connections that stay open longer are cut off.
            timeout_graceful_shutdown=2 * CLOSING_SECONDS,
        )
    )
