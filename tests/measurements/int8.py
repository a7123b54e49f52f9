"""Compares float32, bfloat16 and int8 on a CPU: speed, memory and difference of the answers.

    python -m tests.measurements.int8 --ads ../shared/data/ads.jsonl --out int8.json [--threads 1]

Each dtype has its own process. The ads are cut into parts, and each part goes through all dtypes by
turns, so that a machine that slows down affects all alike. Pin it with `taskset` on a shared
machine.
"""

import argparse
import json
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
import torch

from app.bench.report import provenance
from app.core.head_labels import HEADS
from app.core.types import EncodedAd
from app.data.labelled_ads import read_first_ads
from app.data.token_batches import batches
from app.engine.devices import BATCH_TOKENS
from app.engine.engine import Engine
from app.model.checkpoint import open_checkpoint
from app.serving.process import trim_heap
from tests.measurements.gpu import mixed_ads, random_base

DTYPES = ("float32", "bfloat16", "int8")
PARTS = 12
WARM_UP_ADS = 8


def main() -> None:
    """Measure, print and write the figures."""
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--ads", type=Path, required=True)
    options.add_argument("--checkpoint", type=Path, default=Path("model_store/demo"))
    options.add_argument(
        "--random-base", action="store_true", help="BERT-base's shape, random weights and tokens"
    )
    options.add_argument("--most", type=int, default=5000, help="ads to read")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--dtypes", nargs="+", default=DTYPES, choices=DTYPES)
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.random_base:
            checkpoint = random_base(Path(folder))
            encoded = mixed_ads(given.most, checkpoint.config.encoder.vocab_size, seed=2)
        else:
            checkpoint = open_checkpoint(given.checkpoint)
            encoded = checkpoint.tokenizer().encode(read_first_ads(given.ads)[: given.most])
        random.Random(1).shuffle(encoded)  # noqa: S311  files are often sorted
        with engine_processes(checkpoint.path, given.dtypes, given.threads) as pipes:
            results = measure(pipes, encoded)
    document = {
        **provenance(),
        "command": " ".join(["python -m tests.measurements.int8", *sys.argv[1:]]),
        "torch": version("torch"),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "checkpoint": checkpoint.name,
        "threads": given.threads,
        "ads": len(encoded),
        "tokens": sum(ad.tokens for ad in encoded),
        "dtypes": results,
    }
    print(json.dumps(document, indent=1))  # noqa: T201  a script's result
    if given.out:
        given.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


@contextmanager
def engine_processes(
    folder: Path, dtypes: list[str], threads: int
) -> Iterator[dict[str, Connection]]:
    """Start an engine of each dtype in a process; yields the pipes to `serve_engine` by dtype."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for dtype in dtypes:
        pipes[dtype], theirs = context.Pipe()
        process = context.Process(target=serve_engine, args=(folder, dtype, threads, theirs))
        process.start()
        processes.append(process)
    yield pipes
    for pipe in pipes.values():
        pipe.send(None)
    for process in processes:
        process.join()


def serve_engine(folder: Path, dtype: str, threads: int, pipe: Connection) -> None:
    """Load an engine; answer each list of ads with times, memory and probabilities, until None."""
    torch.set_num_threads(threads)
    begin = time.perf_counter()
    engine = Engine(open_checkpoint(folder), "cpu", dtype)
    loading = time.perf_counter() - begin
    while (ads := pipe.recv()) is not None:
        trim_heap()
        before = resident()
        begin = time.perf_counter()
        answers = [one for batch in batches(ads, BATCH_TOKENS["cpu"]) for one in engine.run(batch)]
        spent = time.perf_counter() - begin
        pipe.send((spent, loading, before, resident(), [one.probabilities for one in answers]))


def resident() -> float:
    """Return this process's resident memory in MiB."""
    return psutil.Process(os.getpid()).memory_info().rss / 2**20


def measure(pipes: dict[str, Connection], ads: list[EncodedAd]) -> dict[str, dict[str, object]]:
    """Send every part to every dtype; return figures by dtype, compared with the first."""
    for pipe in pipes.values():
        for _ in range(2):
            pipe.send(ads[:WARM_UP_ADS])
            pipe.recv()
    rss_at_rest, rates, peaks, loadings = {}, {}, {}, {}
    answers: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in pipes}
    for number in range(PARTS):
        part = ads[number::PARTS]
        for name, pipe in pipes.items():
            pipe.send(part)
            spent, loadings[name], rest, peak, probabilities = pipe.recv()
            rss_at_rest.setdefault(name, rest)
            peaks[name] = max(peak, peaks.get(name, 0.0))
            rates.setdefault(name, []).append(len(part) / spent)
            answers[name] += probabilities
    first = next(iter(pipes))
    return {
        name: {
            "ads_per_s": round(statistics.median(rates[name]), 2),
            f"times_{first}": round(
                statistics.median(a / b for a, b in zip(rates[name], rates[first], strict=True)), 3
            ),
            "load_s": round(loadings[name], 2),
            "rss_mb_at_rest": round(rss_at_rest[name]),
            "rss_mb_after_work": round(peaks[name]),
            **{head: difference(answers[name], answers[first], head) for head in HEADS},
            "rounds_ads_per_s": [round(rate, 2) for rate in rates[name]],
        }
        for name in pipes
    }


def difference(
    given: list[dict[str, np.ndarray]], exact: list[dict[str, np.ndarray]], head: str
) -> dict[str, float]:
    """Compare a head's answers: share of equal best labels, and each ad's largest difference."""
    one, other = (np.stack([answer[head] for answer in answers]) for answers in (given, exact))
    moved = np.abs(one - other).max(1)
    return {
        "equal_labels": round(float((one.argmax(1) == other.argmax(1)).mean()), 5),
        "mean_difference": round(float(moved.mean()), 5),
        "p99_difference": round(float(np.quantile(moved, 0.99)), 5),
        "largest_difference": round(float(moved.max()), 5),
    }


if __name__ == "__main__":
    main()
