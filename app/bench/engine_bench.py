"""The engine alone: the same ads packed and padded, beside the matrix products they are made of."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from transformers import PreTrainedConfig

from app.core.types import Encoded
from app.model.classifier import TwoHeadClassifier

Pass = Callable[[Sequence[Encoded]], object]
PACKED_TOKENS = (512, 1024, 2048)
PADDED_WINDOWS = 8
MATMUL_TOKENS = 1024
ROUNDS = 5
"""Each way runs once a round, in turn, so that a machine that slows down slows all of them."""

LEAST_ADS = 8


@dataclass(frozen=True)
class Shape:
    """An encoder's layers: their number, width and the width inside their feed-forward part."""

    layers: int
    hidden: int
    intermediate: int

    @classmethod
    def of(cls, config: PreTrainedConfig) -> "Shape":
        """Read an encoder's configuration."""
        return cls(config.num_hidden_layers, config.hidden_size, config.intermediate_size)

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """A layer's weights as (inputs, outputs): query, key, value, output, up and down."""
        square, wide = (self.hidden, self.hidden), (self.hidden, self.intermediate)
        return [square] * 4 + [wide, wide[::-1]]

    def matmul_flops(self, tokens: int) -> int:
        """Return the FLOPs of all layers' matrix products: 2 a weight and token."""
        weights = sum(inputs * outputs for inputs, outputs in self.matrices)
        return 2 * self.layers * weights * tokens

    def flops(self, encoded: Encoded) -> int:
        """Return the FLOPs of one ad's whole forward pass through the layers.

        2 a weight and token, and 4 * length * hidden a token and layer for attention, whose scores
        and weighted sums each cost 2 * length * hidden (Hoffmann et al. 2022, "Training
        Compute-Optimal Large Language Models", appendix F). Embeddings, norms, softmax and the
        heads, together some per mille, are left out.
        """
        squares = sum(len(window) ** 2 for window in encoded.windows)
        return self.matmul_flops(encoded.tokens) + 4 * self.layers * self.hidden * squares

    def packed_flops(self, encoded: Encoded) -> int:
        """Return the FLOPs that the engine spends on an ad: `flops` less what nobody reads.

        In the last layer keys and values are computed for all tokens, everything else for each
        window's first.
        """
        before = replace(self, layers=self.layers - 1).flops(encoded)
        square = self.hidden**2
        of_first = 2 * square + 2 * self.hidden * self.intermediate
        last = 2 * square * encoded.tokens + of_first * len(encoded.windows)
        return before + 2 * last + 4 * self.hidden * encoded.tokens


@dataclass(frozen=True)
class Variant:
    """One way of running ads, and the FLOPs that an ad takes it."""

    run: Pass
    flops: Callable[[Encoded], int]


@dataclass
class Measured:
    """One way of running the ads: by round, ads, tokens and GFLOP a second."""

    name: str
    ads: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    gflops: list[float] = field(default_factory=list)

    def medians(self) -> dict[str, float]:
        """Return the medians over the rounds."""
        rates = {"ads": self.ads, "tokens": self.tokens, "gflops": self.gflops}
        return {name: statistics.median(values) for name, values in rates.items()}


@dataclass
class EngineReport:
    """What the engine does alone; `matmul` is GFLOP a second by round, `ads` those of a round."""

    shape: Shape
    device: str
    dtype: str
    threads: int
    ads: int = 0
    ways: list[Measured] = field(default_factory=list)
    matmul: list[float] = field(default_factory=list)

    def rows(self) -> Iterator[dict[str, str | float]]:
        """Yield each way's medians, with its `share` of the matmul rate, round by round."""
        for way in self.ways:
            shares = [own / best for own, best in zip(way.gflops, self.matmul, strict=True)]
            yield {"name": way.name, **way.medians(), "share": statistics.median(shares)}


def batches(ads: Sequence[Encoded], tokens: int) -> list[list[Encoded]]:
    """Cut ads into batches of at most `tokens`; a longer ad goes alone."""
    cut: list[list[Encoded]] = [[]]
    filled = 0
    for ad in ads:
        size = ad.tokens
        if cut[-1] and filled + size > tokens:
            cut.append([])
            filled = 0
        cut[-1].append(ad)
        filled += size
    return cut


@torch.inference_mode()
def run_padded(model: TwoHeadClassifier, ads: Sequence[Encoded], size: int) -> None:
    """Pad batches of `size` windows to their longest, as most servers do."""
    windows = [window for ad in ads for window in ad.windows]
    for start in range(0, len(windows), size):
        part = windows[start : start + size]
        ids = np.zeros((len(part), max(map(len, part))), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, window in enumerate(part):
            ids[row, : len(window)] = window
            mask[row, : len(window)] = 1
        output = model(
            torch.from_numpy(ids).to(model.device),
            attention_mask=torch.from_numpy(mask).to(model.device),
        )
        output.job_category_logits.float().softmax(-1).cpu()
        output.min_education_logits.float().softmax(-1).cpu()


def ways_to_run(
    run: Pass, padded: TwoHeadClassifier, shape: Shape, exact: Pass | None = None
) -> dict[str, Variant]:
    """Return what is compared: the engine's `run` in batches of sizes, and the padded model.

    Args:
        run: the engine's.
        padded: the same model with the library's attention.
        shape: the model's.
        exact: a float32 engine's `run`, to be compared as well.
    """

    def packed(run: Pass, tokens: int) -> Variant:
        return Variant(
            lambda ads: [run(batch) for batch in batches(ads, tokens)], shape.packed_flops
        )

    ways = {"1 ad": Variant(lambda ads: [run([ad]) for ad in ads], shape.packed_flops)}
    for tokens in PACKED_TOKENS:
        ways[f"packed, {tokens} tokens"] = packed(run, tokens)
    if exact is not None:
        ways[f"float32, {MATMUL_TOKENS} tokens"] = packed(exact, MATMUL_TOKENS)
    ways[f"padded, {PADDED_WINDOWS} windows"] = Variant(
        lambda ads: run_padded(padded, ads, PADDED_WINDOWS), shape.flops
    )
    return ways


def matmul(shape: Shape, device: torch.device, dtype: torch.dtype) -> Callable[[], int]:
    """Return a call that multiplies as the encoder's layers do, and returns its FLOPs.

    Every layer has weights of its own: a single set would stay in the caches, and be faster than
    any encoder can be.
    """
    weights = [
        torch.randn(outputs, inputs, device=device, dtype=dtype)
        for _ in range(shape.layers)
        for inputs, outputs in shape.matrices
    ]
    states = {
        width: torch.randn(MATMUL_TOKENS, width, device=device, dtype=dtype)
        for width in (shape.hidden, shape.intermediate)
    }

    @torch.inference_mode()
    def multiply() -> int:
        for weight in weights:
            last = F.linear(states[weight.shape[1]], weight)
        last[0, 0].item()  # waits for the device
        return shape.matmul_flops(MATMUL_TOKENS)

    return multiply


def measure(
    report: EngineReport,
    ads: Sequence[Encoded],
    ways: Mapping[str, Variant],
    multiply: Callable[[], int],
    seconds: float,
    stopped: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Run all ways and the products in turn, on as many ads as fit into about `seconds`.

    Args:
        report: gets the figures, round by round; a round that is not finished leaves none.
        ads: what to read; the first of them are warmed up on.
        ways: by name.
        multiply: does the matrix products and returns their FLOPs.
        seconds: of all rounds together; more where the machine needs more for `LEAST_ADS` a round.
        stopped: asked before each way; ends the measurement.
        clock: gives seconds.
    """
    first = ads[:LEAST_ADS]
    begin = clock()
    for way in ways.values():
        way.run(first)
    multiply()
    # The warm-up, which is slower than what follows, tells how many ads a round may have.
    spent = clock() - begin
    count = int(len(first) * seconds / (ROUNDS * spent)) if spent else len(ads)
    part = ads[: max(len(first), count)]
    report.ads, report.ways = len(part), [Measured(name) for name in ways]
    tokens = sum(ad.tokens for ad in part)
    for _ in range(ROUNDS):
        taken: list[float] = []
        products, multiplying = 0, 0.0
        for way in ways.values():
            if stopped():
                return
            begin = clock()
            way.run(part)
            middle = clock()
            taken.append(middle - begin)
            # Beside each way, for a tenth of its time: the machine's pace changes within a round.
            while True:
                products += multiply()
                if clock() - middle >= 0.1 * taken[-1]:
                    break
            multiplying += clock() - middle
        for way, measured, spent in zip(ways.values(), report.ways, taken, strict=True):
            measured.ads.append(len(part) / spent)
            measured.tokens.append(tokens / spent)
            measured.gflops.append(sum(map(way.flops, part)) / spent / 1e9)
        report.matmul.append(products / multiplying / 1e9)
