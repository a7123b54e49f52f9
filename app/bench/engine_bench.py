"""Measures an engine alone: packed and padded passes, compared with bare matrix products."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from transformers import PreTrainedConfig

from app.core.types import EncodedAd
from app.data.token_batches import batches
from app.model.classifier import TwoHeadClassifier

RunAds = Callable[[Sequence[EncodedAd]], object]
PACKED_TOKENS = (512, 1024, 2048)
PADDED_WINDOWS = 8
MATMUL_TOKENS = 1024
ROUNDS = 5
"""Every variant runs once a round, in turn, so that a machine that slows down slows all of them."""

MIN_ADS = 8
"""Minimum ads of a round, and the ads of the warm-up."""


@dataclass(frozen=True)
class EncoderShape:
    """The sizes of an encoder: number of layers, hidden width, width of the feed-forward part."""

    layers: int
    hidden: int
    intermediate: int

    @classmethod
    def of(cls, config: PreTrainedConfig) -> "EncoderShape":
        """Return the shape that an encoder's configuration describes."""
        return cls(config.num_hidden_layers, config.hidden_size, config.intermediate_size)

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """The (inputs, outputs) of a layer's weights: query, key, value, output, up and down."""
        square, wide = (self.hidden, self.hidden), (self.hidden, self.intermediate)
        return [square] * 4 + [wide, wide[::-1]]

    def matmul_flops(self, tokens: int) -> int:
        """Return the FLOPs of the matrix products of all layers: 2 per weight and token."""
        weights = sum(inputs * outputs for inputs, outputs in self.matrices)
        return 2 * self.layers * weights * tokens

    def flops(self, encoded: EncodedAd) -> int:
        """Return the FLOPs of one ad's whole forward pass through the layers.

        2 per weight and token, and 4 * length * hidden per token and layer for attention, whose
        scores and weighted sums each cost 2 * length * hidden (Hoffmann et al. 2022, "Training
        Compute-Optimal Large Language Models", appendix F). Embeddings, norms, softmax and the
        heads are left out; together they are a few per mille.
        """
        squares = sum(len(window) ** 2 for window in encoded.windows)
        return self.matmul_flops(encoded.tokens) + 4 * self.layers * self.hidden * squares

    def packed_flops(self, encoded: EncodedAd) -> int:
        """Return the FLOPs that the engine spends on one ad, which are fewer than `flops`.

        The heads read only the first token of each window. So the engine's last layer computes keys
        and values of all tokens, and everything else of these first tokens alone.
        """
        before = replace(self, layers=self.layers - 1).flops(encoded)
        square = self.hidden**2
        first_token = 2 * square + 2 * self.hidden * self.intermediate
        last = 2 * square * encoded.tokens + first_token * len(encoded.windows)
        return before + 2 * last + 4 * self.hidden * encoded.tokens


@dataclass(frozen=True)
class Variant:
    """One way to run ads, and the FLOPs that it spends on an ad."""

    run: RunAds
    flops: Callable[[EncodedAd], int]


@dataclass
class VariantRates:
    """The ads, tokens and GFLOP per second of one variant, a value per round."""

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
    """The result of a measurement; its field names are keys of the JSON document."""

    shape: EncoderShape
    device: str
    dtype: str
    threads: int
    ads: int = 0
    """How many ads every variant runs in a round."""
    ways: list[VariantRates] = field(default_factory=list)
    matmul: list[float] = field(default_factory=list)
    """GFLOP per second of the bare matrix products, a value per round."""

    def rows(self) -> Iterator[dict[str, str | float]]:
        """Yield each variant's medians; `share` is its rate divided by the round's matmul rate."""
        for rates in self.ways:
            shares = [own / best for own, best in zip(rates.gflops, self.matmul, strict=True)]
            yield {"name": rates.name, **rates.medians(), "share": statistics.median(shares)}


@torch.inference_mode()
def run_padded(model: TwoHeadClassifier, ads: Sequence[EncodedAd], size: int) -> None:
    """Run windows in batches of `size`, each padded to its longest window, as most servers do."""
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


def make_variants(
    run: RunAds, padded: TwoHeadClassifier, shape: EncoderShape, exact: RunAds | None = None
) -> dict[str, Variant]:
    """Return the variants to compare by name: packed batches of several sizes, and padded ones.

    Args:
        run: the packed pass of the engine.
        padded: the same model with the attention of the transformers library.
        shape: of the model.
        exact: the packed pass of a float32 engine, which adds a variant.
    """

    def packed(run: RunAds, tokens: int) -> Variant:
        return Variant(
            lambda ads: [run(batch) for batch in batches(ads, tokens)], shape.packed_flops
        )

    variants = {"1 ad": Variant(lambda ads: [run([ad]) for ad in ads], shape.packed_flops)}
    for tokens in PACKED_TOKENS:
        variants[f"packed, {tokens} tokens"] = packed(run, tokens)
    if exact is not None:
        variants[f"float32, {MATMUL_TOKENS} tokens"] = packed(exact, MATMUL_TOKENS)
    variants[f"padded, {PADDED_WINDOWS} windows"] = Variant(
        lambda ads: run_padded(padded, ads, PADDED_WINDOWS), shape.flops
    )
    return variants


def matmul(shape: EncoderShape, device: torch.device, dtype: torch.dtype) -> Callable[[], int]:
    """Return a function that computes the matrix products of all layers and returns their FLOPs.

    Every layer has its own random weights: one set for all would stay in the caches, and the
    products would be faster than in any encoder.
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


def measure_variants(
    report: EngineReport,
    ads: Sequence[EncodedAd],
    variants: Mapping[str, Variant],
    multiply: Callable[[], int],
    seconds: float,
    stopped: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Run all variants and the matrix products in turn, on as many ads as fit into `seconds`.

    Args:
        report: gets the rates of every finished round.
        ads: the first of them serve as warm-up too.
        variants: by name.
        multiply: computes the matrix products and returns their FLOPs.
        seconds: about how long all rounds take; longer where `MIN_ADS` a round take longer.
        stopped: called before each variant; the measurement ends once it returns true.
        clock: returns seconds.
    """
    first = ads[:MIN_ADS]
    begin = clock()
    for variant in variants.values():
        variant.run(first)
    multiply()
    # The warm-up fixes the number of ads a round. It is slower than the rounds, so they take less.
    spent = clock() - begin
    count = int(len(first) * seconds / (ROUNDS * spent)) if spent else len(ads)
    part = ads[: max(len(first), count)]
    report.ads, report.ways = len(part), [VariantRates(name) for name in variants]
    tokens = sum(ad.tokens for ad in part)
    for _ in range(ROUNDS):
        timing = _time_round(part, variants, multiply, stopped, clock)
        if timing is None:
            return
        for variant, rates, spent in zip(variants.values(), report.ways, timing[0], strict=True):
            rates.ads.append(len(part) / spent)
            rates.tokens.append(tokens / spent)
            rates.gflops.append(sum(map(variant.flops, part)) / spent / 1e9)
        report.matmul.append(timing[1])


def _time_round(
    ads: Sequence[EncodedAd],
    variants: Mapping[str, Variant],
    multiply: Callable[[], int],
    stopped: Callable[[], bool],
    clock: Callable[[], float],
) -> tuple[list[float], float] | None:
    """Return the seconds of each variant and the GFLOP per second of the products."""
    seconds: list[float] = []
    flops, multiplying = 0, 0.0
    for variant in variants.values():
        if stopped():
            return None
        begin = clock()
        variant.run(ads)
        middle = clock()
        seconds.append(middle - begin)
        # The products run after each variant, for a tenth of its time, instead of once a round:
        # the speed of a machine changes within a round.
        while True:
            flops += multiply()
            if clock() - middle >= 0.1 * seconds[-1]:
                break
        multiplying += clock() - middle
    return seconds, flops / multiplying / 1e9
