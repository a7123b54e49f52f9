"""Sends a load from one process or from several."""

import asyncio
import importlib
import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing.synchronize import Barrier, Event

import numpy as np

from app.bench.http_client import ConnectionPool
from app.bench.interrupt import Interrupt
from app.bench.load_generator import LoadGenerator, LoadPlan, RequestSamples

START_SECONDS = 60.0
"""Time limit for the start of all processes."""

_stop: Event
_ready: Barrier


class SenderPool:
    """Sends plans from several processes. A context manager.

    In its body the first Ctrl-C ends a load at once and keeps what was measured so far.

    Args:
        processes: how many; 1 sends from this process and starts none.
    """

    def __init__(self, processes: int = 1) -> None:
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None
        self.interrupt = Interrupt()
        if processes > 1:
            # Fresh interpreters: a fork of a process with threads may hang.
            context = multiprocessing.get_context("spawn")
            stop, ready = context.Event(), context.Barrier(processes)
            self.interrupt = Interrupt(stop)
            self._pool = ProcessPoolExecutor(
                processes, context, initializer=_init_process, initargs=(stop, ready)
            )

    def run(self, plan: LoadPlan) -> tuple[RequestSamples, float]:
        """Send a plan; return its samples and for how many seconds requests were sent."""
        if self._pool is None:
            return send_plan(plan, self.interrupt.wanted)
        parts = [plan.share(index, self._processes) for index in range(self._processes)]
        results = list(self._pool.map(_send_share, parts))
        return np.concatenate([samples for samples, _ in results]), min(sent for _, sent in results)

    def __enter__(self) -> "SenderPool":
        self.interrupt.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.interrupt.__exit__()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def send_plan(plan: LoadPlan, stopped: Callable[[], bool]) -> tuple[RequestSamples, float]:
    """Send a plan from this process; see `LoadGenerator.run`."""

    async def main() -> tuple[RequestSamples, float]:
        connections = ConnectionPool(plan.address)
        try:
            return await LoadGenerator(plan, connections.send).run(stopped)
        finally:
            connections.close()

    # uvloop sends nearly twice the requests per second; it does not exist for every system.
    factory = importlib.import_module("uvloop").new_event_loop if find_spec("uvloop") else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


def _init_process(stop: Event, ready: Barrier) -> None:
    global _stop, _ready
    _stop, _ready = stop, ready
    # Ctrl-C reaches all processes of the terminal; the parent sets `stop`.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _send_share(plan: LoadPlan) -> tuple[RequestSamples, float]:
    _ready.wait(START_SECONDS)
    return send_plan(plan, _stop.is_set)
