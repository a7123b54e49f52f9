"""The processes that send a load, one or several."""

import asyncio
import importlib
import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing.synchronize import Barrier, Event

import numpy as np

from app.bench.http_client import Connections
from app.bench.interrupt import Interrupt
from app.bench.load_generator import Load, Plan, Shots

START_SECONDS = 60.0
"""For all processes to be there."""

_stop: Event
_ready: Barrier


class Workers:
    """Sends plans from `processes` processes; a context manager.

    Inside it the first Ctrl-C ends a load at once, with what was measured so far.
    """

    def __init__(self, processes: int = 1) -> None:
        """Take how many; one is this process itself."""
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None
        self.interrupt = Interrupt()
        if processes > 1:
            # A fresh interpreter each: forking one that has threads may hang.
            context = multiprocessing.get_context("spawn")
            stop, ready = context.Event(), context.Barrier(processes)
            self.interrupt = Interrupt(stop)
            self._pool = ProcessPoolExecutor(
                processes, context, initializer=_begin, initargs=(stop, ready)
            )

    def run(self, plan: Plan) -> tuple[Shots, float]:
        """Send a plan; return its requests and for how many seconds they were sent."""
        if self._pool is None:
            return send(plan, self.interrupt.wanted)
        parts = [plan.share(index, self._processes) for index in range(self._processes)]
        results = list(self._pool.map(_work, parts))
        return np.concatenate([shots for shots, _ in results]), min(sent for _, sent in results)

    def __enter__(self) -> "Workers":
        self.interrupt.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.interrupt.__exit__()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def send(plan: Plan, stopped: Callable[[], bool]) -> tuple[Shots, float]:
    """Send a plan from this process."""

    async def main() -> tuple[Shots, float]:
        links = Connections(plan.address)
        try:
            return await Load(plan, links.send).run(stopped)
        finally:
            links.close()

    # Nearly twice the requests a second, where the system has it.
    factory = importlib.import_module("uvloop").new_event_loop if find_spec("uvloop") else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


def _begin(stop: Event, ready: Barrier) -> None:
    global _stop, _ready
    _stop, _ready = stop, ready
    # Ctrl-C reaches the whole group; the parent tells what is to be done about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _work(plan: Plan) -> tuple[Shots, float]:
    _ready.wait(START_SECONDS)
    return send(plan, _stop.is_set)
