"""Another checkpoint for a service of several processes, step by step over all of them.

Every engine process loads it beside the served one; then every front end serves it; and when the
last of them has settled what it began with the one before, the engines drop that. A request is
tokenized, scored and named by one generation: each has connections of its own.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import CheckpointRefusedError, ServiceError, SwapRunningError
from app.core.served_model import RUNNING, ServedModel, Swap
from app.serving.model_store import checkpoint_folder
from app.serving.workers.child_process import Child
from app.serving.workers.control_messages import (
    CheckpointLoaded,
    CountSwap,
    DropCheckpoint,
    LoadCheckpoint,
    NowServing,
    OldRequestsDone,
    Serve,
    SwapRequested,
    SwapResult,
)

log = logging.getLogger(__name__)


@dataclass(eq=False)
class RolloutRequest:
    """Who wants another checkpoint: a front end, or nobody but a signal."""

    folder: Path
    worker: Child | None = None
    number: int = 0


class Rollout:
    """One checkpoint after another. Told what processes say, it tells them what to do."""

    def __init__(self, model: Path, engines: Sequence[Child], workers: Sequence[Child]) -> None:
        """Take the setting, and the supervisor's lists of those that live."""
        self._model, self._engines, self._workers = model, engines, workers
        self.generation = 0
        """What front ends that start now are to serve."""
        self.served: ServedModel | None = None
        self._request: RolloutRequest | None = None
        self._next: RolloutRequest | None = None
        self._again = False
        self._begin = 0.0
        self._last = self._before = 0
        self._old: ServedModel | None = None
        self._loading: dict[Child, ServedModel | ServiceError | None] = {}
        self._to_serve: set[Child] = set()
        self._to_settle: set[Child] = set()

    def reload(self) -> None:
        """Serve what the setting leads to by now; where a swap is running, after it."""
        if self._busy:
            self._again = True
        else:
            self._start(RolloutRequest(self._model))

    def want(self, worker: Child, wanted: SwapRequested) -> None:
        """Take a front end's request."""
        try:
            request = RolloutRequest(
                checkpoint_folder(self._model, wanted.name), worker, wanted.number
            )
            if self._request or self._next:
                raise SwapRunningError(RUNNING)
        except ServiceError as error:
            worker.tell(SwapResult(wanted.number, error))
            return
        if self._busy:
            self._next = request
        else:
            self._start(request)

    def loaded(self, engine: Child, message: CheckpointLoaded) -> None:
        """Note that an engine has loaded the checkpoint, or refused it."""
        self._loading[engine] = message.result
        results = list(self._loading.values())
        models = [one for one in results if isinstance(one, ServedModel)]
        errors = [one for one in results if isinstance(one, ServiceError)]
        if len(models) + len(errors) < len(results):
            return
        if not errors and len({one.identity for one in models}) > 1:
            errors.append(CheckpointRefusedError("The checkpoint changed while it was loaded."))
        if errors:
            self._drop(message.generation)
            self._finish("refused", errors[0])
        elif self.served and models[0].identity == self.served.identity:
            self._finish("unchanged", Swap(self.served, self.served, self._seconds))
        else:
            self._serve(message.generation, models[0])
        self._follow()

    def serving(self, worker: Child, message: NowServing) -> None:
        """Note that a front end's new requests are the new one's."""
        if message.generation == self.generation:
            self._to_serve.discard(worker)
            self._go_on()

    def settled(self, worker: Child, message: OldRequestsDone) -> None:
        """Note that a front end waits for no answer of the one before."""
        if message.generation == self.generation:
            self._to_settle.discard(worker)
            self._go_on()

    def buried(self, worker: Child) -> None:
        """Wait no longer for a front end that is no more."""
        self._to_serve.discard(worker)
        self._to_settle.discard(worker)
        self._go_on()

    @property
    def _busy(self) -> bool:
        return bool(self._request or self._to_settle)

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._begin

    def _start(self, request: RolloutRequest) -> None:
        self._request, self._begin = request, time.perf_counter()
        self._last += 1
        self._loading = dict.fromkeys(self._engines)
        for engine in self._engines:
            engine.tell(LoadCheckpoint(self._last, request.folder))

    def _serve(self, generation: int, model: ServedModel) -> None:
        self._old, self.served = self.served, model
        self._before, self.generation = self.generation, generation
        self._to_serve, self._to_settle = set(self._workers), set(self._workers)
        for worker in self._workers:
            worker.tell(Serve(len(self._engines), generation))

    def _go_on(self) -> None:
        if not (self._old and self.served) or self._to_serve:
            return
        if self._request:
            self._finish("ok", Swap(self._old, self.served, self._seconds))
        if not self._to_settle:
            self._old = None
            self._drop(self._before)
        self._follow()

    def _finish(self, how: str, result: Swap | ServiceError) -> None:
        request, self._request = self._request, None
        self._engines[0].tell(CountSwap(how))
        if isinstance(result, Swap):
            log.info("the service %s", result)
        elif request and request.worker is None:
            log.error("the model was not replaced: %s", result)
        if request and request.worker:
            request.worker.tell(SwapResult(request.number, result))

    def _follow(self) -> None:
        """Begin what waited for the end of a swap."""
        if self._busy:
            return
        if self._next:
            request, self._next = self._next, None
            self._start(request)
        elif self._again:
            self._again = False
            self._start(RolloutRequest(self._model))

    def _drop(self, generation: int) -> None:
        for engine in self._engines:
            engine.tell(DropCheckpoint(generation))
