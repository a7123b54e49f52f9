"""Measures the engine on CUDA: parity with float32 on the CPU, then speed.

    python -m tests.measurements.gpu --out FILE [--checkpoint model_store/demo]

Without a checkpoint the weights are random, in the shape of BERT-base. Lengths are distributed like
those of real ads (log-normal, median 285 tokens, 11.5 % above 512).
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import BertConfig

from app.bench.engine_bench import run_padded
from app.core.head_labels import HEADS, Head
from app.core.types import EncodedAd
from app.data.token_batches import batches
from app.engine.devices import DTYPES
from app.engine.engine import Engine
from app.model.checkpoint import Checkpoint, open_checkpoint
from app.text.window_spans import window_spans
from tests.conftest import tiny_tokenizer
from tests.measurements.synthetic import mixed_lengths, save_random

BATCH_TOKENS = 32768
PARITY_ADS = 500
SPEED_ADS = 4000


def main() -> None:
    """Run both parts and write the figures."""
    options = argparse.ArgumentParser()
    options.add_argument("--checkpoint", type=Path)
    options.add_argument("--out", type=Path, required=True)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = (
            open_checkpoint(given.checkpoint) if given.checkpoint else random_base(Path(folder))
        )
        results = {
            "date": date.today().isoformat(),
            "device": torch.cuda.get_device_name(),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
            "checkpoint": checkpoint.name,
            "parity": parity(checkpoint),
            "speed": speed(checkpoint),
        }
    given.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))  # noqa: T201  a script's result


def random_base(folder: Path) -> Checkpoint:
    """Save a BERT-base with random weights and heads of 34 and 4 labels."""
    heads = {
        "job_category": Head(labels=tuple(f"c{index}" for index in range(34))),
        "min_education": Head(labels=tuple(f"e{index}" for index in range(4))),
    }
    tokenizer, config = tiny_tokenizer()
    files = {"tokenizer.json": tokenizer, "tokenizer_config.json": config}
    return save_random(folder / "bert-base", BertConfig(), heads, files)


def mixed_ads(count: int, vocabulary: int, seed: int) -> list[EncodedAd]:
    """Make ads of random tokens with the length distribution of real ads."""
    random = np.random.default_rng(seed)
    return [random_ad(int(length), vocabulary, random) for length in mixed_lengths(count, random)]


def random_ad(length: int, vocabulary: int, random: np.random.Generator) -> EncodedAd:
    """Make an ad of random tokens, in windows of at most 512 tokens."""
    return EncodedAd(
        tuple(
            random.integers(10, vocabulary, end - start + 2).astype(np.int32)
            for start, end in window_spans(length, 510, 63, 4)
        )
    )


def parity(checkpoint: Checkpoint) -> dict[str, object]:
    """Compare logits and labels of every CUDA dtype with float32 on the CPU."""
    ads = mixed_ads(PARITY_ADS, checkpoint.config.encoder.vocab_size, seed=1)
    reference = all_logits(Engine(checkpoint, "cpu"), ads)
    compared = {}
    for dtype in (name for name in DTYPES if name != "int8"):
        logits = all_logits(Engine(checkpoint, "cuda", dtype), ads)
        compared[dtype] = {
            head: {
                "largest_difference": float(np.abs(logits[head] - reference[head]).max()),
                "equal_labels": float((logits[head].argmax(1) == reference[head].argmax(1)).mean()),
            }
            for head in HEADS
        }
    return {"windows": len(reference[HEADS[0]]), **compared}


def all_logits(engine: Engine, ads: list[EncodedAd]) -> dict[str, np.ndarray]:
    """Return the logits of all windows by head, each (windows, labels)."""
    results = [result for batch in batches(ads, BATCH_TOKENS) for result in engine.logits(batch)]
    return {head: np.concatenate([result[head] for result in results]) for head in HEADS}


def speed(checkpoint: Checkpoint) -> dict[str, object]:
    """Measure packed and padded passes by turns, one ad at idle, and the rate by batch size."""
    vocabulary = checkpoint.config.encoder.vocab_size
    engine = Engine(checkpoint, "cuda")
    padded = checkpoint.model(DTYPES[engine.dtype], "sdpa").cuda()
    mix = mixed_ads(SPEED_ADS, vocabulary, seed=2)
    random = np.random.default_rng(3)
    full = [random_ad(510, vocabulary, random) for _ in range(SPEED_ADS // 2)]

    engine.warm_up(full[: BATCH_TOKENS // 512])
    # Two threads like the micro-batcher: one packs a batch while the other computes.
    threads = ThreadPoolExecutor(2)

    def run_packed(cut: list[list[EncodedAd]]) -> None:
        list(threads.map(engine.run, cut))

    def run_padded_batches(cut: list[list[EncodedAd]]) -> None:
        run_padded(padded, [ad for batch in cut for ad in batch], 64)

    measured: dict[str, object] = {"dtype": engine.dtype, "batch_tokens": BATCH_TOKENS}
    for name, ads in (("mix", mix), ("512_tokens", full)):
        cut = list(batches(ads, BATCH_TOKENS))
        rates: dict[str, list[float]] = {"packed": [], "padded_64": []}
        for repeat in range(6):
            packed = rate(cut, run_packed)
            padded_rate = rate(cut, run_padded_batches)
            if repeat:  # the first repeat warms up
                rates["packed"].append(packed)
                rates["padded_64"].append(padded_rate)
        medians = {kind: statistics.median(values) for kind, values in rates.items()}
        measured[name] = {
            **{f"{kind}_ads_per_second": round(value) for kind, value in medians.items()},
            "ratio": round(medians["packed"] / medians["padded_64"], 2),
            "tokens_per_second": round(medians["packed"] * sum(ad.tokens for ad in ads) / len(ads)),
        }
    measured["one_ad_ms"] = one_ad_ms(engine, vocabulary)
    measured["one_ad_ms_without_graphs"] = one_ad_ms(Engine(checkpoint, "cuda"), vocabulary)
    measured["tokens_per_second_by_batch"] = by_batch(engine, mix)
    return measured


def one_ad_ms(engine: Engine, vocabulary: int) -> float:
    """Return the median latency of one ad of 285 tokens at idle, in milliseconds."""
    lone = random_ad(285, vocabulary, np.random.default_rng(4))
    times = []
    for _ in range(200):
        begin = time.perf_counter()
        engine.run([lone])
        times.append((time.perf_counter() - begin) * 1000)
    return round(statistics.median(times[20:]), 2)


def by_batch(engine: Engine, ads: list[EncodedAd]) -> dict[int, int]:
    """Return the rate in tokens a second by the batch's tokens, one batch after the other."""
    measured = {}
    for size in (512, 1024, 2048, 4096, 8192, 16384, 32768):
        part = list(islice(batches(ads, size), 40))
        begin = time.perf_counter()
        for batch in part:
            engine.run(batch)
        tokens = sum(ad.tokens for batch in part for ad in batch)
        measured[size] = round(tokens / (time.perf_counter() - begin))
    return measured


def rate(cut: list[list[EncodedAd]], work: Callable[[list[list[EncodedAd]]], None]) -> float:
    """Return the rate of some batches in ads a second."""
    torch.cuda.synchronize()
    begin = time.perf_counter()
    work(cut)
    torch.cuda.synchronize()
    return sum(map(len, cut)) / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
