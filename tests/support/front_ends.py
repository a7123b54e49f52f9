"""Front ends and an engine process's broker over real ZeroMQ sockets, all in one event loop.

The engine is a `StepEngine`: a batch begins, and ends only when the test releases it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

import numpy as np
import zmq

from app.core.types import EncodedAd, Scores
from app.serving.metrics import Metrics
from app.serving.request_trace import Trace, set_current
from app.serving.scheduling.admission import AdmissionController
from app.serving.scheduling.lanes import Lane
from app.serving.scheduling.micro_batcher import MicroBatcher
from app.serving.scheduling.shared_counters import SharedCounters
from app.serving.workers.engine_broker import EngineBroker
from app.serving.workers.remote_batcher import RemoteBatcher
from app.serving.workers.zmq_channel import unlimited_socket
from tests.support.step_engine import StepEngine

LABELS = {"job_category": ("a", "b"), "min_education": ("x",)}
FRONT_ENDS = 2


def scores(encoded: EncodedAd) -> Scores:
    """Return scores that show which ad they belong to, by its number of tokens."""
    tokens = encoded.tokens
    return Scores(
        {
            "job_category": np.array([tokens, -tokens], dtype=np.float32),
            "min_education": np.array([tokens / 2], dtype=np.float32),
        }
    )


async def until(condition: Callable[[], bool]) -> None:
    """Let messages travel until the condition holds; the caller limits the time."""
    while not condition():  # noqa: ASYNC110  it changes by a message on a socket
        await asyncio.sleep(0.001)


class FrontEndsAndEngine:
    """One broker with its batcher, and the batchers of `FRONT_ENDS` front ends."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.engine, self.metrics, self.now = StepEngine(), Metrics(), 0.0
        self.engine.outcome = lambda batch: [scores(item) for item in batch]
        self.context, self._path = zmq.Context(), folder / "counters"
        self._address = f"ipc://{folder}/engine"
        self.counters = SharedCounters.create(self._path, FRONT_ENDS, 1)
        self.batcher = MicroBatcher(
            self.engine.run,
            metrics=self.metrics,
            counters=self.counters,
            clock=lambda: self.now,
            **{
                "max_batch_tokens": 100,
                "max_queued_ads": 50,
                "max_queue_seconds": 5.0,
                "tokens_per_second": 100.0,
                **options,
            },
        )
        self.batcher.start()
        router = unlimited_socket(self.context, zmq.ROUTER)
        router.bind(self._address)
        self.broker = EngineBroker(router, self.batcher, LABELS, clock=lambda: self.now)
        self.fronts = [self._front(row) for row in range(FRONT_ENDS)]

    def _front(self, row: int) -> RemoteBatcher:
        counters = SharedCounters.open(self._path, FRONT_ENDS, 1, row)
        admission = AdmissionController(50, 5.0, counters, Metrics(), lambda: self.now)
        remote = RemoteBatcher(admission, [self.dealer(f"front-{row}".encode())], LABELS)
        remote.start()
        return remote

    def dealer(self, identity: bytes) -> zmq.Socket[bytes]:
        """Return a socket that is connected to the broker."""
        dealer = unlimited_socket(self.context, zmq.DEALER)
        dealer.setsockopt(zmq.IDENTITY, identity)
        dealer.connect(self._address)
        return dealer

    async def classify(
        self, *ads: EncodedAd, front: int = 0, lane: Lane = Lane.INTERACTIVE, request_id: str = ""
    ) -> list[Scores]:
        """Send one request from a front end; `trace` is that of the last one answered."""
        trace = Trace(request_id)
        set_current(trace)
        remote = self.fronts[front]
        with remote.admission.admit(len(ads), sum(item.tokens for item in ads), lane) as ticket:
            trace.enter("queue")
            answers = await remote.classify(ads, ticket)
            trace.leave()
        self.trace = trace
        return answers

    def begin(self, *ads: EncodedAd, **options: object) -> asyncio.Task[list[Scores]]:
        """Start `classify` as a task."""
        return asyncio.create_task(self.classify(*ads, **options))

    async def queued(self, ads: int) -> None:
        """Wait until this number of ads wait for a batch."""
        await until(lambda: sum(not one.future.done() for one in self.batcher.waiting()) == ads)


def in_event_loop(
    test: Callable[[FrontEndsAndEngine], Coroutine[None, None, None]],
    tmp_path: Path,
    **options: object,
) -> None:
    """Run a test in an event loop, and check that nothing stays counted as admitted."""

    async def main() -> None:
        setup = FrontEndsAndEngine(tmp_path, **options)
        try:
            async with asyncio.timeout(20):
                await test(setup)
                setup.engine.release(1000)
                for front in setup.fronts:
                    await front.drain(5)
                await setup.batcher.drain(5)
        finally:
            # A thread that the engine still holds would keep the tests from ending.
            setup.engine.release(1000)
            setup.broker.close()
            setup.context.destroy(linger=0)
        load = setup.counters.loads[0]
        assert (load.ads, load.tokens(Lane.INTERACTIVE), load.tokens(Lane.BULK)) == (0, 0, 0)

    asyncio.run(main())
