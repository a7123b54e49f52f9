"""The server process: socket, checkpoint, engine, batcher and HTTP put together."""

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from app.api import create_app
from app.batching import MicroBatcher
from app.errors import SettingsError, StartupError
from app.logs import configure_logs
from app.metrics import Metrics
from app.protocol import Protocol
from app.records import Ad, Encoded
from app.served import ServedModel
from app.service import Service
from app.settings import Settings
from app.tokenization import AdTokenizer

if TYPE_CHECKING:
    from app.engine import Engine

log = logging.getLogger(__name__)


def serve(settings: Settings) -> int:
    """Serve until a signal comes; return the process's exit code.

    Raises:
        StartupError: with one sentence, where the service cannot begin.
    """
    begin = time.perf_counter()
    configure_logs(settings.log_format)
    # uvicorn sends the signal that ended it to the process once more; it has done its work.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    listener = listen(settings.host, settings.port)
    metrics = Metrics()
    failures: list[Exception] = []

    def stop(error: Exception | None = None) -> None:
        failures.append(error or RuntimeError("the device is lost"))
        server.should_exit = True

    async def load() -> Service:
        service = await build_service(settings, metrics, on_fatal=stop)
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
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,  # ours knows the stages, and never the raw path
            server_header=False,
            http=Protocol,
            # Nothing here speaks WebSocket; a request to upgrade is answered as if it did not ask.
            ws="none",
            timeout_graceful_shutdown=max(1, round(settings.grace_seconds)),
        )
    )
    host, port = listener.getsockname()[:2]
    log.info("Doppelkopf listens on http://%s:%d and loads %s", host, port, settings.model)
    server.run(sockets=[listener])
    for error in failures:
        if isinstance(error, StartupError):
            raise error
        log.critical("the service ended: %s", error, exc_info=error)
    log.info("stopped")
    return 1 if failures else 0


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
            backlog=2048,
        )
    except OSError as error:
        raise SettingsError(
            f"Cannot listen on {host}:{port}: {(error.strerror or str(error)).lower()}; "
            "set HOST and PORT to a free address."
        ) from error


async def build_service(
    settings: Settings, metrics: Metrics, on_fatal: Callable[[], None]
) -> Service:
    """Load the checkpoint in a thread and put a batcher of this event loop before its engine.

    Raises:
        StartupError: the checkpoint, the device or a limit does not fit.
    """
    engine, tokenizer, model, max_batch_tokens, rate = await asyncio.to_thread(_prepare, settings)
    batcher = MicroBatcher(
        engine.run,
        max_batch_tokens=max_batch_tokens,
        max_queued_ads=settings.max_queued_ads,
        max_queue_seconds=settings.max_queue_seconds,
        tokens_per_second=rate,
        metrics=metrics,
        # A device of its own computes while the CPU packs; a CPU would only compete with itself.
        depth=1 if engine.device.type == "cpu" else 2,
        on_fatal=on_fatal,
    )
    return Service(model, tokenizer, batcher, metrics)


def _prepare(settings: Settings) -> tuple["Engine", AdTokenizer, ServedModel, int, float]:
    # Imported here, in a thread: the process listens and answers probes meanwhile.
    import torch
    from transformers.utils.logging import disable_progress_bar

    from app.checkpoint import open_checkpoint
    from app.engine import Engine

    disable_progress_bar()
    torch.set_num_threads(settings.threads or available_cores())
    checkpoint = open_checkpoint(settings.model)
    tokenizer = checkpoint.tokenizer(settings.max_windows)
    engine = Engine(checkpoint, settings.device, settings.dtype)
    max_batch_tokens = settings.max_batch_tokens or max(engine.batch_tokens, tokenizer.longest)
    if max_batch_tokens < tokenizer.longest:
        raise SettingsError(
            f"MAX_BATCH_TOKENS is {max_batch_tokens}, but the longest ad has {tokenizer.longest} "
            f"tokens ({settings.max_windows} windows of {tokenizer.max_length}); "
            "raise it or lower MAX_WINDOWS."
        )
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
