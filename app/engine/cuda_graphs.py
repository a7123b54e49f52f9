"""CUDA graphs of the packed pass: one call launches what are hundreds of kernels.

Launched one by one from Python, the kernels of a BERT-base take longer to launch than to run until
a batch has some 25,000 tokens: one ad took 8 ms and takes 0.8. A graph replays one shape only, so
there is one for each rung of a ladder of sizes, and a batch is laid into the lowest that holds it.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from app.engine.packing import Packed

STEPS = 8
"""Rungs an octave: a batch is padded by an eighth at most, and by a sixteenth on average."""

ALIGNMENT = 64
"""Tokens of a rung are a multiple of it, which suits the matrix products."""

SMALLEST = 128

TOKENS_A_WINDOW = 64
"""A rung has room for windows of this mean length. A window too many costs next to nothing, but a
thousand of them some per cent; a batch of shorter ones takes a higher rung."""

Forward = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""Takes ids and positions, int64 of shape (1, tokens), bounds, int32 of shape (windows + 1,), and
the longest window's tokens; gives both heads' logits, float32 of shape (windows, labels)."""

Capture = Callable[[Callable[[], None]], Callable[[], object]]
"""Takes work on the device and gives what does it again."""


@dataclass(frozen=True, slots=True)
class Rung:
    """A size that there is a graph for: up to `windows` windows of fewer than `tokens` tokens."""

    tokens: int
    windows: int


def ladder(tokens: int) -> list[Rung]:
    """Return the rungs for batches of up to `tokens` tokens, the lowest first."""
    # One token more than the fullest batch: the bounds of windows that are not there point to it.
    top = _aligned(tokens + 1)
    sizes, octave = {top}, SMALLEST
    while octave < top:
        steps = (_aligned(octave + octave * step // STEPS) for step in range(STEPS))
        sizes.update(size for size in steps if size < top)
        octave *= 2
    return [Rung(size, size // TOKENS_A_WINDOW + 8) for size in sorted(sizes)]


def _aligned(tokens: int) -> int:
    return -(-tokens // ALIGNMENT) * ALIGNMENT


class Graphs:
    """The pass of one model, captured for every rung. Not thread-safe; replays in one stream."""

    def __init__(
        self,
        forward: Forward,
        *,
        labels: int,
        longest: int,
        device: torch.device,
        capture: Capture,
    ) -> None:
        """Take the pass; `capture` makes the graphs.

        Args:
            forward: the pass, without any wait for the device inside it.
            labels: of both heads together.
            longest: the most tokens that a window can have.
            device: where `forward` computes.
            capture: makes one graph.
        """
        self._forward, self._labels, self._longest = forward, labels, longest
        self._device, self._capture = device, capture
        self._ladder: list[Rung] = []
        self._replays: list[Callable[[], object]] = []
        self._inputs = self._logits = torch.empty(0)

    def capture(self, tokens: int) -> None:
        """Make the graphs for batches of up to `tokens` tokens."""
        rungs = ladder(tokens)
        top = rungs[-1]
        # All graphs share them: one runs at a time, and whatever it reads is written anew.
        self._inputs = torch.zeros(_size(top), dtype=torch.int32, device=self._device)
        self._logits = torch.empty((top.windows, self._labels), device=self._device)
        # The largest first, so that the others find its memory and need none of their own.
        self._replays = [self._capture(self._pass(rung)) for rung in reversed(rungs)][::-1]
        self._ladder = rungs

    def replay(self, packed: Packed) -> Tensor | None:
        """Launch the pass of a batch.

        Returns:
            Both heads' logits, float32 of shape (windows, labels) on the device, valid until the
            next call; None where no rung holds the batch.
        """
        index = self._rung(packed)
        if index is None:
            return None
        rung = self._ladder[index]
        inputs = torch.zeros(_size(rung), dtype=torch.int32, pin_memory=self._device.type == "cuda")
        ids, positions, bounds = _parts(inputs, rung)
        ids[: packed.tokens] = packed.input_ids[0]
        positions[: packed.tokens] = packed.position_ids[0]
        bounds.fill_(packed.tokens)
        bounds[: packed.windows + 1] = packed.cu_seq_lens
        self._inputs[: len(inputs)].copy_(inputs, non_blocking=True)
        self._replays[index]()
        return self._logits[: packed.windows]

    def _rung(self, packed: Packed) -> int | None:
        first = bisect_left(self._ladder, packed.tokens + 1, key=lambda rung: rung.tokens)
        for index in range(first, len(self._ladder)):
            if packed.windows <= self._ladder[index].windows:
                return index
        return None

    def _pass(self, rung: Rung) -> Callable[[], None]:
        ids, positions, bounds = _parts(self._inputs[: _size(rung)], rung)

        def work() -> None:
            logits = self._forward(
                ids.long().unsqueeze(0),
                positions.long().unsqueeze(0),
                bounds,
                min(self._longest, rung.tokens),
            )
            self._logits[: rung.windows].copy_(logits)

        return work


def _size(rung: Rung) -> int:
    return 2 * rung.tokens + rung.windows + 1


def _parts(inputs: Tensor, rung: Rung) -> tuple[Tensor, Tensor, Tensor]:
    """Split what goes to the device in one copy: ids, positions, bounds."""
    middle, end = rung.tokens, 2 * rung.tokens
    return inputs[:middle], inputs[middle:end], inputs[end:]


def cuda_capture() -> Capture:
    """Return what captures on the current CUDA device; all its graphs share one pool of memory."""
    pool = torch.cuda.graph_pool_handle()

    def capture(work: Callable[[], None]) -> Callable[[], object]:
        # Libraries choose their kernels and set up at the first call, which cannot be captured.
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch has none there
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            work()
        return graph.replay

    return capture
