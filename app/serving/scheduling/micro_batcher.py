"""The micro-batcher: a loop without a timer.

When the engine is idle, whatever waits goes at once; while it works, the next batch forms. Knows
neither tensors nor HTTP: it is handed the function that runs a batch.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from app.core.errors import EngineError, FatalEngineError, NotReadyError, ServiceError
from app.core.types import Encoded, Scores
from app.serving.metrics import Metrics
from app.serving.request_trace import BATCH
from app.serving.scheduling.admission import DRAINING, LOST, REPLACED, AdmissionController, Ticket
from app.serving.scheduling.lanes import Entry, Lane, Lanes
from app.serving.scheduling.shared_counters import SharedCounters
from app.serving.scheduling.watchdog import Watchdog

log = logging.getLogger(__name__)

Run = Callable[[Sequence[Encoded]], Sequence[Scores | EngineError]]
"""Runs one batch; gives one result an ad, in order. Called in a thread."""

RATE_MEMORY = 0.75
"""Weight of the past in the measured rate, a batch of full size counting for 1 - this."""


class MicroBatcher:
    """Owns the queue and the loop that empties it. Everything but `run` happens in one event loop.

    Every future is settled: by success, failure, cancellation or shutdown. A deadline is a
    cancellation by the caller.
    """

    def __init__(
        self,
        run: Run,
        *,
        max_batch_tokens: int,
        max_queued_ads: int,
        max_queue_seconds: float,
        tokens_per_second: float,
        metrics: Metrics,
        ledger: SharedCounters | None = None,
        house: AdmissionController | None = None,
        free: Callable[[], None] = lambda: None,
        depth: int = 1,
        hang_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        on_fatal: Callable[[FatalEngineError], None] = lambda _: None,
    ) -> None:
        """Take the settings; `start` begins the loop.

        Args:
            run: runs one batch, in a thread of this batcher's own.
            max_batch_tokens: tokens of a batch; a longer ad goes alone.
            max_queued_ads: ads in the house at once.
            max_queue_seconds: work that may be ahead of a request that is admitted.
            tokens_per_second: the engine's rate, as first measured.
            metrics: where batches, waits and refusals are recorded.
            ledger: holds this engine's account alone; by default one of this process's own.
            house: of the batcher that this one succeeds, with the same account; by default a new
                one.
            free: gives back what `run` needs; called in a thread once nothing will run any more.
            depth: batches handed to `run` at once; 2 lets one be packed while one computes.
            hang_seconds: see `Watchdog`.
            clock: seconds, monotonic.
            on_fatal: called once the device is lost or does not come back.
        """
        if house is None:
            ledger = ledger or SharedCounters.of_one(tokens_per_second)
            house = AdmissionController(max_queued_ads, max_queue_seconds, ledger, metrics, clock)
        self.house = house
        (self._account,) = house.accounts
        # Beside an engine at work it was measured too low, and the next batches will tell.
        self._account.rate = max(self._account.rate, tokens_per_second)
        self.watchdog = Watchdog(hang_seconds, self._bark)
        self._run, self._free, self._on_fatal = run, free, on_fatal
        self._metrics, self._clock = metrics, clock
        self._max_batch_tokens = max_batch_tokens
        metrics.max_batch_tokens.set(max_batch_tokens)
        self._depth = depth
        self._lanes = Lanes()
        self._work = asyncio.Event()
        self._last_end = -math.inf
        self._steps: dict[asyncio.Task[None], list[Entry]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._lost: FatalEngineError | None = None
        self._stopped = False
        self._executor = ThreadPoolExecutor(
            depth, thread_name_prefix="engine", initializer=self.watchdog.enlist
        )

    def start(self) -> None:
        """Begin to take batches; call it once, inside the event loop."""
        self._tasks = [
            asyncio.create_task(self._loop(), name="batcher"),
            asyncio.create_task(self.watchdog.run(), name="watchdog"),
        ]

    async def classify(self, encoded: Sequence[Encoded], admission: Ticket) -> list[Scores]:
        """Queue the ads of an admitted request and return their scores in order.

        Cancelling the call takes its ads out of the queue.

        Raises:
            EngineError: one of the ads failed.
            OverloadedError: the engine became so slow that they waited too long after all.
            NotReadyError: the service was shut down before they were answered.
        """
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Scores]] = [loop.create_future() for _ in encoded]
        now = self._clock()
        entries = [Entry(*both, now) for both in zip(encoded, futures, strict=True)]
        self.add(entries, admission.lane)
        admission.correct(sum(entry.tokens for entry in entries))
        for entry, future in zip(entries, futures, strict=True):
            tokens = entry.tokens
            future.add_done_callback(
                lambda _, tokens=tokens: admission.change(-1, -tokens)  # type: ignore[misc]
            )
        try:
            return await asyncio.gather(*futures)
        finally:
            for future in futures:
                future.cancel()

    def add(self, entries: Sequence[Entry], lane: Lane) -> None:
        """Queue the ads of one admitted request; each is told its outcome.

        Raises:
            FatalEngineError: the engine is lost.
            NotReadyError: the batcher was stopped.
        """
        if self._lost:
            raise FatalEngineError(str(self._lost))
        if self._stopped:
            raise NotReadyError(REPLACED)
        # A request that has begun is finished: its first ad alone can be late.
        first = entries[0]
        first.expires_at = first.queued_at + self.house.longest_wait(lane)
        first.request = entries
        self._lanes.add(entries, lane)
        self._work.set()

    def waiting(self) -> list[Entry]:
        """Return the ads that are in no batch yet."""
        return list(self._lanes)

    async def drain(self, grace_seconds: float) -> None:
        """Admit nothing more, finish what was admitted, then stop the loop.

        What is unfinished after the grace period gets a `NotReadyError`.
        """
        refusal = self.house.close(DRAINING)
        try:
            async with asyncio.timeout(grace_seconds):
                await self.house.emptied()
        except TimeoutError:
            log.warning("%d ads were not finished in time", self.house.ads)
        await self._stop(refusal)

    async def retire(self) -> None:
        """Stop the loop and free the engine, once nobody waits; the house stays open to others."""
        await self._stop(NotReadyError(REPLACED))
        await asyncio.to_thread(self._free)

    async def _stop(self, refusal: NotReadyError) -> None:
        self._stopped = True
        self._fail(self._lanes.clear(), refusal)
        if self._steps:
            await asyncio.wait(self._steps)
        for task in self._tasks:
            task.cancel()
        self._executor.shutdown(wait=False)

    async def _loop(self) -> None:
        slots = asyncio.Semaphore(self._depth)
        while True:
            await slots.acquire()
            batch = await self._take()
            step = asyncio.create_task(self._step(batch))
            self._steps[step] = batch
            step.add_done_callback(self._steps.pop)
            step.add_done_callback(lambda _: slots.release())

    async def _take(self) -> list[Entry]:
        while True:
            for late in self._lanes.expire(self._clock()):
                tokens = sum(entry.tokens for entry in late.request)
                self._fail(late.request, self.house.refuse("queue_late", tokens))
            if batch := self._lanes.take(self._max_batch_tokens):
                return batch
            self._work.clear()
            await self._work.wait()

    async def _step(self, batch: list[Entry]) -> None:
        begin = self._clock()
        for entry in batch:
            self._metrics.queue_seconds.observe(begin - entry.queued_at)
            entry.trace.enter(BATCH)
        self.watchdog.begin(
            key := object(), sum(entry.tokens for entry in batch) / self._account.rate
        )
        try:
            results = await asyncio.get_running_loop().run_in_executor(
                self._executor, self._run_safely, [entry.encoded for entry in batch]
            )
            if len(results) != len(batch):
                raise EngineError(f"{len(results)} results came for {len(batch)} ads.")
        except FatalEngineError as error:
            self._die(error)
        except Exception as error:
            ids = sorted({entry.trace.request_id for entry in batch})
            log.exception("a batch of %d ads failed; requests %s", len(batch), ", ".join(ids))
            self._metrics.engine_failures.labels("batch").inc()
            failure = EngineError("The model could not classify this batch; try again.")
            failure.__cause__ = error
            self._fail(batch, failure)
        else:
            self._measure(batch, begin)
            self._settle(batch, results)
        finally:
            self.watchdog.end(key)

    def _run_safely(self, batch: Sequence[Encoded]) -> Sequence[Scores | EngineError]:
        try:
            return self._run(batch)
        except Exception:
            raise
        except BaseException as error:
            # Whatever ends a thread would end the event loop where it is awaited.
            raise FatalEngineError("The engine has ended; the service has to restart.") from error

    def _measure(self, batch: list[Entry], begin: float) -> None:
        end = self._clock()
        tokens = sum(entry.tokens for entry in batch)
        # With two batches in flight the later one waits for the earlier: that is not its time.
        seconds = max(end - max(begin, self._last_end), 1e-6)
        self._last_end = end
        weight = (1 - RATE_MEMORY) * min(1.0, tokens / self._max_batch_tokens)
        self._account.rate += weight * (tokens / seconds - self._account.rate)
        self._metrics.batch_seconds.observe(seconds)
        self._metrics.batch_ads.observe(len(batch))
        self._metrics.batch_tokens.observe(tokens)

    def _settle(self, batch: list[Entry], results: Sequence[Scores | EngineError]) -> None:
        for entry, result in zip(batch, results, strict=True):
            if isinstance(result, EngineError):
                self._metrics.engine_failures.labels("ad").inc()
                self._fail([entry], result)
            elif not entry.future.done():
                entry.future.set_result(result)

    def _fail(self, entries: Sequence[Entry], error: ServiceError) -> None:
        for entry in entries:
            if not entry.future.done():
                entry.future.set_exception(error)

    def _bark(self, what: str) -> None:
        self._die(FatalEngineError(f"The engine failed, {what}; the service has to restart."))

    def _die(self, error: FatalEngineError) -> None:
        if self._lost:
            return
        self._lost = error
        log.critical("the engine is lost: %s", error.__cause__ or error)
        self._metrics.engine_failures.labels("fatal").inc()
        self.house.close(LOST)
        for task in self._tasks:
            task.cancel()
        running = [entry for batch in self._steps.values() for entry in batch]
        self._fail([*running, *self._lanes.clear()], error)
        # Those that hang are waited for no longer.
        for step in self._steps:
            if step is not asyncio.current_task():
                step.cancel()
        self._on_fatal(error)
