"""CUDA graphs of the packed forward pass: one call launches its hundreds of kernels.

Up to about 25,000 tokens a batch, the kernels of a BERT-base take longer to launch from Python one
by one than to run: one ad took 8 ms without graphs and takes 0.8 ms with them. A graph has a fixed
input shape, so there is one for each of a series of sizes, and a batch is padded to the smallest
size that it fits into.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from app.engine.packing import PackedBatch

SIZES_PER_OCTAVE = 8
"""Sizes from one power of two to the next: a batch is padded by at most an eighth."""

TOKEN_ALIGNMENT = 64
"""The tokens of every size are a multiple of this, which suits the matrix products."""

SMALLEST_TOKENS = 128
"""Tokens of the smallest size."""

TOKENS_PER_WINDOW = 64
"""Mean length of the windows that a size has room for; a batch of shorter windows may need a larger
size. Unused windows are computed too: one costs next to nothing, a thousand cost a few per cent."""

PackedForward = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""Takes ids and positions, int64 of shape (1, tokens), bounds, int32 of shape (windows + 1,), and
the tokens of the longest window; returns both heads' logits, float32 of shape (windows, labels)."""

CaptureGraph = Callable[[Callable[[], None]], Callable[[], object]]
"""Takes a function that launches kernels, captures them, and returns a function that replays them.
"""


@dataclass(frozen=True, slots=True)
class GraphSize:
    """The input size of a graph: up to `windows` windows of fewer than `tokens` tokens together."""

    tokens: int
    windows: int


def graph_sizes(max_tokens: int) -> list[GraphSize]:
    """Return the sizes for batches of up to `max_tokens` tokens, smallest first."""
    # At least one token is padding: the bounds of unused windows point to it.
    largest = _aligned(max_tokens + 1)
    sizes, octave = {largest}, SMALLEST_TOKENS
    while octave < largest:
        steps = (octave * step // SIZES_PER_OCTAVE for step in range(SIZES_PER_OCTAVE))
        sizes.update(size for step in steps if (size := _aligned(octave + step)) < largest)
        octave *= 2
    return [GraphSize(size, size // TOKENS_PER_WINDOW + 8) for size in sorted(sizes)]


def _aligned(tokens: int) -> int:
    return -(-tokens // TOKEN_ALIGNMENT) * TOKEN_ALIGNMENT


class CudaGraphs:
    """The forward pass of one model as graphs of several sizes.

    It is not thread-safe, and all its graphs run in one stream.
    """

    def __init__(
        self,
        forward: PackedForward,
        *,
        labels: int,
        max_window: int,
        device: torch.device,
        capture_graph: CaptureGraph,
    ) -> None:
        """Make an object without graphs; `capture` adds them.

        Args:
            forward: the forward pass; it must not wait for the device.
            labels: the number of labels of both heads together.
            max_window: tokens of the longest window there can be.
            device: the device of `forward`.
            capture_graph: captures one graph.
        """
        self._forward, self._labels, self._max_window = forward, labels, max_window
        self._device, self._capture_graph = device, capture_graph
        self._sizes: list[GraphSize] = []
        self._replays: list[Callable[[], object]] = []
        self._inputs = self._logits = torch.empty(0)

    def capture(self, max_tokens: int) -> None:
        """Capture the graphs for batches of up to `max_tokens` tokens."""
        sizes = graph_sizes(max_tokens)
        largest = sizes[-1]
        # All graphs share these buffers: one graph runs at a time, and its input is written before.
        self._inputs = torch.zeros(_length(largest), dtype=torch.int32, device=self._device)
        self._logits = torch.empty((largest.windows, self._labels), device=self._device)
        # The largest first, so that the others reuse its memory and need none of their own.
        self._replays = [self._capture_graph(self._pass(size)) for size in reversed(sizes)][::-1]
        self._sizes = sizes

    def replay(self, packed: PackedBatch) -> Tensor | None:
        """Launch the forward pass of a batch.

        Returns:
            Both heads' logits, float32 of shape (windows, labels) on the device, valid until the
            next call; None if the batch is too large for every graph.
        """
        index = self._smallest_fit(packed)
        if index is None:
            return None
        size = self._sizes[index]
        pinned = self._device.type == "cuda"
        inputs = torch.zeros(_length(size), dtype=torch.int32, pin_memory=pinned)
        ids, positions, bounds = _split(inputs, size)
        ids[: packed.tokens] = packed.input_ids[0]
        positions[: packed.tokens] = packed.position_ids[0]
        bounds.fill_(packed.tokens)
        bounds[: packed.windows + 1] = packed.cu_seq_lens
        self._inputs[: len(inputs)].copy_(inputs, non_blocking=True)
        self._replays[index]()
        return self._logits[: packed.windows]

    def _smallest_fit(self, packed: PackedBatch) -> int | None:
        first = bisect_left(self._sizes, packed.tokens + 1, key=lambda size: size.tokens)
        for index in range(first, len(self._sizes)):
            if packed.windows <= self._sizes[index].windows:
                return index
        return None

    def _pass(self, size: GraphSize) -> Callable[[], None]:
        """Return a forward pass from the shared input buffer to the shared logits."""
        ids, positions, bounds = _split(self._inputs[: _length(size)], size)

        def launch() -> None:
            logits = self._forward(
                ids.long().unsqueeze(0),
                positions.long().unsqueeze(0),
                bounds,
                min(self._max_window, size.tokens),
            )
            self._logits[: size.windows].copy_(logits)

        return launch


def _length(size: GraphSize) -> int:
    """Return the length of the input buffer: ids, positions and bounds, copied together."""
    return 2 * size.tokens + size.windows + 1


def _split(inputs: Tensor, size: GraphSize) -> tuple[Tensor, Tensor, Tensor]:
    """Return the parts of an input buffer: ids, positions, bounds."""
    middle, end = size.tokens, 2 * size.tokens
    return inputs[:middle], inputs[middle:end], inputs[end:]


def cuda_capture() -> CaptureGraph:
    """Return a function that captures graphs on the current CUDA device, in one memory pool."""
    pool = torch.cuda.graph_pool_handle()

    def capture(launch: Callable[[], None]) -> Callable[[], object]:
        # Libraries choose and load kernels in the first call, which cannot be captured.
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # untyped in torch
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            launch()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            launch()
        return graph.replay

    return capture
