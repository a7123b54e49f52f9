"""The server process: socket, checkpoint, engine, batcher and HTTP put together."""

import asyncio
import logging
import os
import resource
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from app.api import create_app
from app.batching import MicroBatcher
from app.connections import CLOSING_SECONDS, KEEP_ALIVE_SECONDS, Connection
from app.draining import DrainingServer
from app.errors import FatalEngineError, SettingsError, StartupError
from app.logs import configure_logs
from app.memory import give_back_regularly
from app.metrics import Metrics
from app.records import Ad, Encoded
from app.served import ServedModel
from app.service import Service
from app.settings import Settings
from app.tokenization import AdTokenizer

if TYPE_CHECKING:
    from app.engine import Engine

log = logging.getLogger(__name__)

BACKLOG = 65535
"""Connections that wait to be accepted; the system lowers it to its own limit (net.core.somaxconn).
"""

MAX_FILES = 65536


def serve(settings: Settings, engine_type: "type[Engine] | None" = None) -> int:
    """Serve until a signal comes; return the process's exit code.

    Where the engine is lost the process ends here, with 1: a thread that hangs in it would keep the
    interpreter from ending.

    Args:
        settings: what to serve and how.
        engine_type: the engine to compute with, in place of `Engine`.

    Raises:
        StartupError: with one sentence, where the service cannot begin.
    """
    begin = time.perf_counter()
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
        service = await build_service(settings, metrics, stop, engine_type)
        background.append(asyncio.create_task(give_back_regularly()))
        log.info(
            "ready after %.1f s: %s, revision %s, on %s in %s",
            time.perf_counter() - begin,
            service.model.name,
            service.model.revision,
            service.model.device,
            service.model.dtype,
        )
        return service

    app = create_app(settings, load, metrics, on_failure=stop)
    server = DrainingServer(
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


def allow_many_connections() -> None:
    """Raise the process's limit of open files, one a connection, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def listen(host: str, port: int) -> socket.socket:
    """Take the address, before anything slow begins.

    Raises:
        SettingsError: the address is taken or not of this machine.
    """
    try:
        # Listening at once makes a second server on the same port fail here and not later.
        return socket.create_server(
            (host, port),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            backlog=BACKLOG,
        )
    except OSError as error:
        raise SettingsError(
            f"Cannot listen on {host}:{port}: {(error.strerror or str(error)).lower()}; "
            "set HOST and PORT to a free address."
        ) from error


async def build_service(
    settings: Settings,
    metrics: Metrics,
    on_fatal: Callable[[FatalEngineError], None],
    engine_type: "type[Engine] | None" = None,
) -> Service:
    """Load the checkpoint in a thread and put a batcher of this event loop before its engine.

    Raises:
        StartupError: the checkpoint, the device or a limit does not fit.
    """
    engine, tokenizer, model, max_batch_tokens, rate = await asyncio.to_thread(
        _prepare, settings, engine_type
    )
    batcher = MicroBatcher(
        engine.run,
        max_batch_tokens=max_batch_tokens,
        max_queued_ads=settings.max_queued_ads,
        max_queue_seconds=settings.max_queue_seconds,
        tokens_per_second=rate,
        metrics=metrics,
        # A device of its own computes while the CPU packs; a CPU would only compete with itself.
        depth=1 if engine.device.type == "cpu" else 2,
        hang_seconds=settings.hang_seconds,
        on_fatal=on_fatal,
    )
    return Service(model, tokenizer, batcher, metrics)


def _prepare(
    settings: Settings, engine_type: "type[Engine] | None"
) -> tuple["Engine", AdTokenizer, ServedModel, int, float]:
    # Imported here, in a thread: the process listens and answers probes meanwhile.
    import torch
    from transformers.utils.logging import disable_progress_bar

    from app.checkpoint import open_checkpoint
    from app.engine import Engine

    disable_progress_bar()
    torch.set_num_threads(settings.threads or available_cores())
    checkpoint = open_checkpoint(settings.model)
    tokenizer = checkpoint.tokenizer(settings.max_windows)
    engine = (engine_type or Engine)(checkpoint, settings.device, settings.dtype)
    max_batch_tokens = settings.max_batch_tokens or engine.batch_tokens
    rate = engine.warm_up(largest_batch(tokenizer, max_batch_tokens))
    model = ServedModel(
        name=checkpoint.name,
        revision=checkpoint.revision,
        device=str(engine.device),
        dtype=engine.dtype,
        heads=checkpoint.heads,
        parameters=checkpoint.parameters,
        max_length=tokenizer.max_length,
        max_windows=tokenizer.max_windows,
    )
    return engine, tokenizer, model, max_batch_tokens, rate


def largest_batch(tokenizer: AdTokenizer, max_batch_tokens: int) -> list[Encoded]:
    """Return as many of the longest ads as one batch may hold, for the warm-up."""
    longest = tokenizer.encode([Ad("Stelle " * tokenizer.longest)])[0]
    return [longest] * max(1, max_batch_tokens // longest.tokens)


def available_cores() -> int:
    """Return the cores this process may use: its affinity, less a container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(cores or 1, int(quota) // int(period)))
    except (OSError, ValueError):  # no such limit here
        return cores or 1
