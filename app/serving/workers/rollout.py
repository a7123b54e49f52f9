"""The supervisor's part of a checkpoint swap: the steps of all engine processes and front ends.

1. Every engine process loads the new checkpoint, while the old one stays in service.
2. Every front end sends its new requests to the new checkpoint.
3. When all front ends have finished the requests of the old one, the engine processes drop it.

A request is tokenized, scored and answered by one generation, which has ZeroMQ sockets of its own.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import CheckpointRefusedError, ServiceError, SwapRunningError
from app.core.served_model import SWAP_RUNNING, CompletedSwap, ServedModel
from app.serving.model_store import checkpoint_folder
from app.serving.workers.child_process import ChildProcess
from app.serving.workers.control_messages import (
    CheckpointLoaded,
    CountSwap,
    DropCheckpoint,
    LoadCheckpoint,
    Message,
    NowServing,
    OldRequestsDone,
    ServeGeneration,
    SwapRequested,
    SwapResult,
)

log = logging.getLogger(__name__)


@dataclass(eq=False)
class RolloutRequest:
    """A checkpoint to serve, and the front end that waits for the result (None: a signal)."""

    folder: Path
    front_end: ChildProcess | None = None
    number: int = 0


class Rollout:
    """Rolls out one checkpoint after another, driven by the messages of the child processes."""

    def __init__(
        self, model: Path, engines: Sequence[ChildProcess], front_ends: Sequence[ChildProcess]
    ) -> None:
        """Set the rollout up.

        Args:
            model: the setting `model`.
            engines: the supervisor's own list of running engine processes.
            front_ends: likewise of front ends.
        """
        self._model, self._engines, self._front_ends = model, engines, front_ends
        self.generation = 0
        """The generation that a front end which starts now serves first."""
        self.served_model: ServedModel | None = None
        self._running: RolloutRequest | None = None
        self._next: RolloutRequest | None = None
        self._reload_requested = False
        self._started = 0.0
        self._last_generation = self._old_generation = 0
        self._old_model: ServedModel | None = None
        self._load_results: dict[ChildProcess, ServedModel | ServiceError | None] = {}
        self._not_serving: set[ChildProcess] = set()
        """Front ends that still send new requests to the old generation."""
        self._not_done: set[ChildProcess] = set()
        """Front ends that still have requests of the old generation."""

    def reload(self) -> None:
        """Swap to the configured checkpoint; calls during a swap cause one more swap after it."""
        if self._busy:
            self._reload_requested = True
        else:
            self._start(RolloutRequest(self._model))

    def on_message(self, child: ChildProcess, message: Message) -> None:
        """Handle a child's message; those that are not about swaps are ignored."""
        if isinstance(message, SwapRequested):
            self.on_swap_requested(child, message)
        elif isinstance(message, CheckpointLoaded):
            self.on_checkpoint_loaded(child, message)
        elif isinstance(message, NowServing):
            self.on_now_serving(child, message)
        elif isinstance(message, OldRequestsDone):
            self.on_old_requests_done(child, message)

    def on_swap_requested(self, front_end: ChildProcess, message: SwapRequested) -> None:
        """Start a swap, or send the front end the error that refuses it."""
        try:
            folder = checkpoint_folder(self._model, message.name)
            if self._running or self._next:
                raise SwapRunningError(SWAP_RUNNING)
        except ServiceError as error:
            front_end.send(SwapResult(message.number, error))
            return
        request = RolloutRequest(folder, front_end, message.number)
        if self._busy:
            self._next = request
        else:
            self._start(request)

    def on_checkpoint_loaded(self, engine: ChildProcess, message: CheckpointLoaded) -> None:
        """Record an engine's result; once all engines have one, continue or give up the swap."""
        self._load_results[engine] = message.result
        results = list(self._load_results.values())
        models = [one for one in results if isinstance(one, ServedModel)]
        errors = [one for one in results if isinstance(one, ServiceError)]
        if len(models) + len(errors) < len(results):
            return
        if not errors and len({one.identity for one in models}) > 1:
            errors.append(CheckpointRefusedError("The checkpoint changed while it was loaded."))
        if errors:
            self._drop(message.generation)
            self._finish("refused", errors[0])
        elif self.served_model and models[0].identity == self.served_model.identity:
            self._finish(
                "unchanged", CompletedSwap(self.served_model, self.served_model, self._seconds)
            )
        else:
            self._serve(message.generation, models[0])
        self._start_next()

    def on_now_serving(self, front_end: ChildProcess, message: NowServing) -> None:
        """Record that a front end sends its new requests to the new generation."""
        if message.generation == self.generation:
            self._not_serving.discard(front_end)
            self._advance()

    def on_old_requests_done(self, front_end: ChildProcess, message: OldRequestsDone) -> None:
        """Record that a front end has no request of the old generation left."""
        if message.generation == self.generation:
            self._not_done.discard(front_end)
            self._advance()

    def on_front_end_gone(self, front_end: ChildProcess) -> None:
        """Do not wait for a front end that has ended."""
        self._not_serving.discard(front_end)
        self._not_done.discard(front_end)
        self._advance()

    @property
    def _busy(self) -> bool:
        return bool(self._running or self._not_done)

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._started

    def _start(self, request: RolloutRequest) -> None:
        self._running, self._started = request, time.perf_counter()
        self._last_generation += 1
        self._load_results = dict.fromkeys(self._engines)
        for engine in self._engines:
            engine.send(LoadCheckpoint(self._last_generation, request.folder))

    def _serve(self, generation: int, model: ServedModel) -> None:
        self._old_model, self.served_model = self.served_model, model
        self._old_generation, self.generation = self.generation, generation
        self._not_serving, self._not_done = set(self._front_ends), set(self._front_ends)
        for front_end in self._front_ends:
            front_end.send(ServeGeneration(len(self._engines), generation))

    def _advance(self) -> None:
        if not (self._old_model and self.served_model) or self._not_serving:
            return
        if self._running:
            self._finish("ok", CompletedSwap(self._old_model, self.served_model, self._seconds))
        if not self._not_done:
            self._old_model = None
            self._drop(self._old_generation)
        self._start_next()

    def _finish(self, outcome: str, result: CompletedSwap | ServiceError) -> None:
        """Count, log and send the result of the running swap; `outcome` is the metric's label."""
        request, self._running = self._running, None
        self._engines[0].send(CountSwap(outcome))
        if isinstance(result, CompletedSwap):
            log.info("the service %s", result)
        elif request and request.front_end is None:
            log.error("the model was not replaced: %s", result)
        if request and request.front_end:
            request.front_end.send(SwapResult(request.number, result))

    def _start_next(self) -> None:
        """Start a swap that waited for the end of another one, if there is one."""
        if self._busy:
            return
        if self._next:
            request, self._next = self._next, None
            self._start(request)
        elif self._reload_requested:
            self._reload_requested = False
            self._start(RolloutRequest(self._model))

    def _drop(self, generation: int) -> None:
        for engine in self._engines:
            engine.send(DropCheckpoint(generation))
