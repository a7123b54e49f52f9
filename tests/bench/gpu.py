"""Parity of the engine on CUDA with float32 on the CPU, then its speed; one call does everything.

    python -m tests.bench.gpu --out tests/bench/results/gpu.json [--checkpoint model_store/demo]

Without a checkpoint the weights are random, in the shape of BERT-base. Lengths follow the mix of
real ads (log-normal, median 285 tokens, 11.5 % above 512).
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import BertConfig, BertModel

from app.bench.passes import batches, run_padded
from app.checkpoint import Checkpoint, open_checkpoint, save_checkpoint
from app.engine import DTYPES, Engine
from app.heads import HEADS, Head
from app.model import TwoHeadClassifier
from app.records import Encoded
from app.tokenization import spans
from tests.conftest import tiny_tokenizer

BATCH_TOKENS = 32768
PARITY_ADS = 500
SPEED_ADS = 4000


def main() -> None:
    """Run and print both parts."""
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
    """Save a BERT-base of random weights with 34 and 4 labels."""
    torch.manual_seed(0)
    encoder = BertModel(BertConfig())
    heads = {
        "job_category": Head(labels=tuple(f"c{index}" for index in range(34))),
        "min_education": Head(labels=tuple(f"e{index}" for index in range(4))),
    }
    model = TwoHeadClassifier.from_encoder(encoder, heads)
    for head in HEADS:
        # Fresh heads answer almost evenly, so that any rounding would swap labels.
        getattr(model, head).weight.data.mul_(20)
    tokenizer, config = tiny_tokenizer()
    files = {"tokenizer.json": tokenizer, "tokenizer_config.json": config}
    return save_checkpoint(folder / "bert-base", model, files, {}, "random weights\n")


def mixed_ads(count: int, vocabulary: int, seed: int) -> list[Encoded]:
    """Make ads of random tokens whose lengths are spread as those of real ads."""
    random = np.random.default_rng(seed)
    # 11.5 % above 512 at a median of 285 gives the spread.
    lengths = np.clip(np.exp(random.normal(np.log(285), 0.488, count)), 20, 1800).astype(int)
    return [ad_of(int(length), vocabulary, random) for length in lengths]


def ad_of(length: int, vocabulary: int, random: np.random.Generator) -> Encoded:
    """Make one ad of random tokens, in windows of at most 512."""
    return Encoded(
        tuple(
            random.integers(10, vocabulary, end - start + 2).astype(np.int32)
            for start, end in spans(length, 510, 63, 4)
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


def all_logits(engine: Engine, ads: list[Encoded]) -> dict[str, np.ndarray]:
    """Run everything and stack the windows' logits by head."""
    results = [result for batch in batches(ads, BATCH_TOKENS) for result in engine.logits(batch)]
    return {head: np.concatenate([result[head] for result in results]) for head in HEADS}


def speed(checkpoint: Checkpoint) -> dict[str, object]:
    """Measure packed against padded passes, alternating, and one ad at idle."""
    vocabulary = checkpoint.config.encoder.vocab_size
    engine = Engine(checkpoint, "cuda")
    padded = checkpoint.model(DTYPES[engine.dtype], "sdpa").cuda()
    mix = mixed_ads(SPEED_ADS, vocabulary, seed=2)
    random = np.random.default_rng(3)
    full = [ad_of(510, vocabulary, random) for _ in range(SPEED_ADS // 2)]

    def run_packed(ads: list[Encoded]) -> None:
        for batch in batches(ads, BATCH_TOKENS):
            engine.run(batch)

    def run_alike(ads: list[Encoded]) -> None:
        run_padded(padded, ads, 64)

    measured: dict[str, object] = {"dtype": engine.dtype, "batch_tokens": BATCH_TOKENS}
    for name, ads in (("mix", mix), ("512_tokens", full)):
        rates: dict[str, list[float]] = {"packed": [], "padded_64": []}
        for repeat in range(6):
            packed = rate(ads, run_packed)
            alike = rate(ads, run_alike)
            if repeat:  # the first warms up
                rates["packed"].append(packed)
                rates["padded_64"].append(alike)
        medians = {kind: statistics.median(values) for kind, values in rates.items()}
        measured[name] = {
            **{f"{kind}_ads_per_second": round(value) for kind, value in medians.items()},
            "ratio": round(medians["packed"] / medians["padded_64"], 2),
            "tokens_per_second": round(medians["packed"] * sum(ad.tokens for ad in ads) / len(ads)),
        }
    lone = ad_of(285, vocabulary, random)
    times = []
    for _ in range(200):
        begin = time.perf_counter()
        engine.run([lone])
        times.append((time.perf_counter() - begin) * 1000)
    measured["one_ad_ms"] = round(statistics.median(times[20:]), 2)
    return measured


def rate(ads: list[Encoded], work: Callable[[list[Encoded]], None]) -> float:
    """Return ads a second."""
    torch.cuda.synchronize()
    begin = time.perf_counter()
    work(ads)
    torch.cuda.synchronize()
    return len(ads) / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
