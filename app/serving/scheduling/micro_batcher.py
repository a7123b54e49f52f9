"""The micro-batcher: queues ads and hands them to the engine in batches.

There is no wait timer: an idle engine gets all queued ads at once, and while it works the next
batch forms. The batcher uses neither tensors nor HTTP: the function that runs a batch is injected.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from app.core.errors import EngineError, FatalEngineError, NotReadyError, ServiceError
from app.core.types import EncodedAd, Scores
from app.serving.metrics import Metrics
from app.serving.request_trace import BATCH
from app.serving.scheduling.admission import DRAINING, LOST, REPLACED, AdmissionController, Ticket
from app.serving.scheduling.lanes import Lane, Lanes, QueuedAd
from app.serving.scheduling.shared_counters import SharedCounters
from app.serving.scheduling.watchdog import Watchdog

log = logging.getLogger(__name__)

RunBatch = Callable[[Sequence[EncodedAd]], Sequence[Scores | EngineError]]
"""Runs one batch and returns one result an ad, in order. It is called in a thread."""

RATE_MEMORY = 0.75
"""Weight of the past in the measured rate: a batch of full size has the weight 1 - this."""


class MicroBatcher:
    """Owns the queue and the loop that empties it. Everything but `run` happens in one event loop.

    Every ad's future is settled: by a result, failure, cancellation or shutdown. A deadline is a
    cancellation by the caller.

    Args:
        run: runs one batch, in a thread of this batcher.
        max_batch_tokens: tokens of a batch; a longer ad is a batch of its own.
        max_queued_ads: limit of ads admitted and not yet answered.
        max_queue_seconds: limit of work, in seconds, that is ahead of an admitted request.
        tokens_per_second: the engine's rate, as measured by its warm-up.
        metrics: where batches, waiting times and refusals are recorded.
        counters: the counters, with this engine's load only; by default this process's own.
        admission: the controller of the batcher that this one replaces, with the same load; by
            default a new one.
        close_engine: frees the engine; called in a thread by `retire`, after the last batch.
        depth: batches handed to `run` at once; 2 lets one be packed while another computes.
        hang_seconds: see `Watchdog`.
        clock: seconds, monotonic.
        on_fatal: called once, when the device is lost or a batch does not return.
    """

    def __init__(
        self,
        run: RunBatch,
        *,
        max_batch_tokens: int,
        max_queued_ads: int,
        max_queue_seconds: float,
        tokens_per_second: float,
        metrics: Metrics,
        counters: SharedCounters | None = None,
        admission: AdmissionController | None = None,
        close_engine: Callable[[], None] = lambda: None,
        depth: int = 1,
        hang_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        on_fatal: Callable[[FatalEngineError], None] = lambda _: None,
    ) -> None:
        if admission is None:
            counters = counters or SharedCounters.for_one_process(tokens_per_second)
            admission = AdmissionController(
                max_queued_ads, max_queue_seconds, counters, metrics, clock
            )
        self.admission = admission
        (self._load,) = admission.loads
        # A warm-up while another engine works measures too low a rate; the next batches correct it.
        self._load.rate = max(self._load.rate, tokens_per_second)
        self.watchdog = Watchdog(hang_seconds, self._engine_hangs)
        self._run, self._close_engine, self._on_fatal = run, close_engine, on_fatal
        self._metrics, self._clock = metrics, clock
        self._max_batch_tokens = max_batch_tokens
        metrics.max_batch_tokens.set(max_batch_tokens)
        self._depth = depth
        self._lanes = Lanes()
        self._work = asyncio.Event()
        self._last_end = -math.inf
        self._running: dict[asyncio.Task[None], list[QueuedAd]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._lost: FatalEngineError | None = None
        self._stopped = False
        self._executor = ThreadPoolExecutor(
            depth, thread_name_prefix="engine", initializer=self.watchdog.watch_current_thread
        )

    def start(self) -> None:
        """Start the loop and the watchdog; call it once, inside the event loop."""
        self._tasks = [
            asyncio.create_task(self._loop(), name="batcher"),
            asyncio.create_task(self.watchdog.run(), name="watchdog"),
        ]

    async def classify(self, encoded: Sequence[EncodedAd], ticket: Ticket) -> list[Scores]:
        """Queue the ads of an admitted request and return their scores in order.

        Cancelling the call takes its ads out of the queue.

        Raises:
            EngineError: one of the ads failed.
            OverloadedError: the engine became so slow that the ads waited too long after all.
            NotReadyError: the service was shut down before they were answered.
        """
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Scores]] = [loop.create_future() for _ in encoded]
        now = self._clock()
        entries = [QueuedAd(*both, now) for both in zip(encoded, futures, strict=True)]
        self.add(entries, ticket.lane)
        ticket.correct(sum(entry.tokens for entry in entries))
        for entry, future in zip(entries, futures, strict=True):
            tokens = entry.tokens
            future.add_done_callback(
                lambda _, tokens=tokens: ticket.change(-1, -tokens)  # type: ignore[misc]
            )
        try:
            return await asyncio.gather(*futures)
        finally:
            for future in futures:
                future.cancel()

    def add(self, entries: Sequence[QueuedAd], lane: Lane) -> None:
        """Queue the ads of one admitted request; each future receives its ad's result.

        Raises:
            FatalEngineError: the engine is lost.
            NotReadyError: the batcher was stopped.
        """
        if self._lost:
            raise FatalEngineError(str(self._lost))
        if self._stopped:
            raise NotReadyError(REPLACED)
        # Only a request's first ad can expire: a request that has started is finished.
        first = entries[0]
        first.expires_at = first.queued_at + self.admission.max_wait_seconds(lane)
        first.request = entries
        self._lanes.add(entries, lane)
        self._work.set()

    def waiting(self) -> list[QueuedAd]:
        """Return the ads that are in no batch yet."""
        return list(self._lanes)

    async def drain(self, grace_seconds: float) -> None:
        """Stop admitting, finish what was admitted, then stop the loop.

        Ads that are unfinished after the grace period get a `NotReadyError`.
        """
        refusal = self.admission.close(DRAINING)
        try:
            async with asyncio.timeout(grace_seconds):
                await self.admission.emptied()
        except TimeoutError:
            log.warning("%d ads were not finished in time", self.admission.ads)
        await self._stop(refusal)

    async def retire(self) -> None:
        """Stop the loop and free the engine, once no request uses this batcher.

        Admission stays open, for the batcher that replaces this one.
        """
        await self._stop(NotReadyError(REPLACED))
        await asyncio.to_thread(self._close_engine)

    async def _stop(self, refusal: NotReadyError) -> None:
        self._stopped = True
        _fail(self._lanes.clear(), refusal)
        if self._running:
            await asyncio.wait(self._running)
        for task in self._tasks:
            task.cancel()
        self._executor.shutdown(wait=False)

    async def _loop(self) -> None:
        slots = asyncio.Semaphore(self._depth)
        while True:
            await slots.acquire()
            batch = await self._take()
            task = asyncio.create_task(self._process(batch))
            self._running[task] = batch
            task.add_done_callback(self._running.pop)
            task.add_done_callback(lambda _: slots.release())

    async def _take(self) -> list[QueuedAd]:
        """Wait for ads and return the next batch; refuses requests that have expired."""
        while True:
            for late in self._lanes.expire(self._clock()):
                tokens = sum(entry.tokens for entry in late.request)
                _fail(late.request, self.admission.refuse("queue_late", tokens))
            if batch := self._lanes.take(self._max_batch_tokens):
                return batch
            self._work.clear()
            await self._work.wait()

    async def _process(self, batch: list[QueuedAd]) -> None:
        """Run a batch in a thread, and settle the future of every ad in it."""
        start = self._clock()
        for entry in batch:
            self._metrics.queue_seconds.observe(start - entry.queued_at)
            entry.trace.enter(BATCH)
        self.watchdog.begin(key := object(), sum(entry.tokens for entry in batch) / self._load.rate)
        try:
            results = await asyncio.get_running_loop().run_in_executor(
                self._executor, self._run_in_thread, [entry.encoded for entry in batch]
            )
            if len(results) != len(batch):
                raise EngineError(f"{len(results)} results came for {len(batch)} ads.")
        except FatalEngineError as error:
            self._lose_engine(error)
        except Exception as error:  # noqa: BLE001  later batches may succeed
            self._fail_batch(batch, error)
        else:
            self._measure(batch, start)
            self._settle(batch, results)
        finally:
            self.watchdog.end(key)

    def _run_in_thread(self, batch: Sequence[EncodedAd]) -> Sequence[Scores | EngineError]:
        try:
            return self._run(batch)
        except Exception:
            raise
        except BaseException as error:
            # Awaited, a SystemExit or its like would end the event loop too, not only the thread.
            raise FatalEngineError("The engine has ended; the service has to restart.") from error

    def _measure(self, batch: list[QueuedAd], start: float) -> None:
        """Update the measured rate and record the batch."""
        end = self._clock()
        tokens = sum(entry.tokens for entry in batch)
        # Of two batches in flight, the later one waits for the earlier; that is not its own time.
        seconds = max(end - max(start, self._last_end), 1e-6)
        self._last_end = end
        weight = (1 - RATE_MEMORY) * min(1.0, tokens / self._max_batch_tokens)
        self._load.rate += weight * (tokens / seconds - self._load.rate)
        self._metrics.batch_seconds.observe(seconds)
        self._metrics.batch_ads.observe(len(batch))
        self._metrics.batch_tokens.observe(tokens)

    def _settle(self, batch: list[QueuedAd], results: Sequence[Scores | EngineError]) -> None:
        for entry, result in zip(batch, results, strict=True):
            if isinstance(result, EngineError):
                self._metrics.engine_failures.labels("ad").inc()
                _fail([entry], result)
            elif not entry.future.done():
                entry.future.set_result(result)

    def _fail_batch(self, batch: list[QueuedAd], error: Exception) -> None:
        ids = sorted({entry.trace.request_id for entry in batch})
        log.error(
            "a batch of %d ads failed; requests %s", len(batch), ", ".join(ids), exc_info=error
        )
        self._metrics.engine_failures.labels("batch").inc()
        failure = EngineError("The model could not classify this batch; try again.")
        failure.__cause__ = error
        _fail(batch, failure)

    def _engine_hangs(self, what: str) -> None:
        self._lose_engine(
            FatalEngineError(f"The engine failed, {what}; the service has to restart.")
        )

    def _lose_engine(self, error: FatalEngineError) -> None:
        """Stop admitting and fail all ads, running and queued; only the first call counts."""
        if self._lost:
            return
        self._lost = error
        log.critical("the engine is lost: %s", error.__cause__ or error)
        self._metrics.engine_failures.labels("fatal").inc()
        self.admission.close(LOST)
        for task in self._tasks:
            task.cancel()
        running = [entry for batch in self._running.values() for entry in batch]
        _fail([*running, *self._lanes.clear()], error)
        # Do not wait for batches that hang.
        for task in self._running:
            if task is not asyncio.current_task():
                task.cancel()
        self._on_fatal(error)


def _fail(entries: Sequence[QueuedAd], error: ServiceError) -> None:
    for entry in entries:
        if not entry.future.done():
            entry.future.set_exception(error)
