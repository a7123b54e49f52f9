"""Compares the service with its engine: latency of one ad at idle, and rate at saturation.

    python -m tests.measurements.service --ads ads.jsonl [--model model_store/demo] [--out FILE]
        [--set NAME=VALUE ...]

The engine runs in this process and the service in its own, by turns on the same ads, so that a
machine that slows down affects both alike. Prints medians; needs an otherwise idle machine.
"""

import argparse
import asyncio
import itertools
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch

from app.bench.http_client import ConnectionPool
from app.bench.load_generator import LoadPlan
from app.bench.sender_processes import SenderPool
from app.bench.summary import summarize
from app.bench.sweep import knee, run_once, run_sweep
from app.bench.target import LoadTarget
from app.core.types import Ad, EncodedAd
from app.data.labelled_ads import read_first_ads
from app.data.token_batches import batches
from app.engine.engine import Engine
from app.model.checkpoint import open_checkpoint
from app.serving.inference.loading import available_cores, largest_batch
from tests.support.server_process import running_server


def main() -> None:
    """Run both parts and print the figures."""
    options = argparse.ArgumentParser()
    options.add_argument("--model", type=Path, default=Path("model_store/demo"))
    options.add_argument("--ads", type=Path, required=True)
    options.add_argument("--out", type=Path)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=20.0)
    options.add_argument("--connections", type=int, default=32)
    options.add_argument("--lone", type=int, default=100, help="ads sent one by one")
    options.add_argument("--processes", type=int, default=1, help="processes that send")
    options.add_argument("--knee", type=float, metavar="MS", help="find it, for this p99")
    options.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", dest="changes")
    given = options.parse_args()
    settings = dict(change.lower().split("=", 1) for change in given.changes)

    torch.set_num_threads(int(settings.get("threads", 0)) or available_cores())
    checkpoint = open_checkpoint(given.model)
    tokenizer = checkpoint.tokenizer()
    engine = Engine(checkpoint, settings.get("device", "auto"), settings.get("dtype", "auto"))
    batch_tokens = int(settings.get("max_batch_tokens", 0)) or engine.batch_tokens
    engine.warm_up(largest_batch(tokenizer, batch_tokens))
    ads = read_first_ads(given.ads)
    encoded = tokenizer.encode(ads)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        with running_server(given.model, Path(folder, "log"), **settings) as address:
            figures = {
                "date": date.today().isoformat(),
                "machine": f"{available_cores()} cores, {engine.device}",
                "versions": {"python": platform.python_version(), "torch": torch.__version__},
                "dtype": engine.dtype,
                "settings": settings,
                "ready_s": round(time.perf_counter() - begin, 1),
                "idle": idle(engine, encoded, ads, address, given.lone),
                "saturated": saturated(engine, encoded, ads, address, batch_tokens, given),
            }
            if given.knee:
                figures["knee"] = below_the_knee(ads, address, figures["saturated"], given)
    print(json.dumps(figures, indent=1))  # noqa: T201  a script's result
    if given.out:
        given.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def idle(
    engine: Engine, encoded: Sequence[EncodedAd], ads: Sequence[Ad], address: str, count: int
) -> dict[str, float]:
    """Return median latencies of single ads: of the engine, of the service, and the difference."""
    requests = LoadTarget(address).requests(ads[:count], None, 1)

    async def send() -> list[tuple[float, float]]:
        links = ConnectionPool(address)
        times = []
        for ad, request in zip(encoded, requests, strict=False):
            # First once without measuring, so that both find warm caches.
            engine.run([ad])
            begin = time.perf_counter()
            engine.run([ad])
            engine_seconds = time.perf_counter() - begin
            await links.send(request.content)
            times.append((engine_seconds, (await links.send(request.content)).seconds))
        links.close()
        return times

    times = asyncio.run(send())
    return {
        "ads": len(times),
        "engine_ms": round(
            1000 * statistics.median(engine_seconds for engine_seconds, _ in times), 2
        ),
        "service_ms": round(1000 * statistics.median(served for _, served in times), 2),
        "difference_ms": round(
            1000 * statistics.median(served - engine_seconds for engine_seconds, served in times), 2
        ),
    }


def saturated(
    engine: Engine,
    encoded: Sequence[EncodedAd],
    ads: Sequence[Ad],
    address: str,
    batch_tokens: int,
    given: argparse.Namespace,
) -> dict[str, object]:
    """Saturate the service, then the engine, in each round; return median rates."""
    plan = LoadPlan(
        address,
        LoadTarget(address).requests(ads, None, 1),
        connections=given.connections,
        warm_up=3.0,
        duration=given.seconds,
    )
    cut = list(batches(encoded, batch_tokens))
    rounds = []
    with SenderPool(given.processes) as workers:
        for _ in range(given.rounds):
            summary = summarize((load := workers.run(plan))[0], plan, load[1])
            rounds.append((summary.tokens, engine_rate(engine, cut, given.seconds), summary))
    return {
        "connections": given.connections,
        "service_ads_per_second": round(statistics.median(one.ads for _, _, one in rounds), 2),
        "service_tokens_per_second": round(statistics.median(own for own, _, _ in rounds)),
        "engine_tokens_per_second": round(
            statistics.median(engine_seconds for _, engine_seconds, _ in rounds)
        ),
        "share": round(
            statistics.median(own / engine_seconds for own, engine_seconds, _ in rounds), 3
        ),
        "p50_ms": round(statistics.median(one.latency_ms["p50"] for _, _, one in rounds)),
        "statuses": [one.statuses for _, _, one in rounds],
    }


def below_the_knee(
    ads: Sequence[Ad], address: str, full: dict[str, float], given: argparse.Namespace
) -> dict[str, object]:
    """Find the knee in an open loop, then measure at 80 % of it."""
    requests = LoadTarget(address).requests(ads, None, 1)
    start = full["service_ads_per_second"] / 2
    plan = LoadPlan(address, requests, rate=start, warm_up=1.0, duration=given.seconds / 2)
    with SenderPool(given.processes) as workers:
        found = knee(run_sweep(plan, workers, 1e5, given.knee), given.knee)
        if found is None or found.rate is None:
            return {"requests_per_second": None}
        calm = run_once(replace(plan, rate=0.8 * found.rate, duration=given.seconds), workers)
    return {
        "requests_per_second": round(found.rate, 1),
        "p99_ms": round(found.latency_ms["p99"], 1),
        "at_80_percent": {
            "requests_per_second": round(calm.achieved, 1),
            **{name: round(value, 1) for name, value in calm.latency_ms.items()},
            "statuses": calm.statuses,
            "generator_late_ms_p99": round(calm.lateness_ms["p99"], 1),
        },
    }


def engine_rate(engine: Engine, cut: Sequence[Sequence[EncodedAd]], seconds: float) -> float:
    """Return the engine's rate in tokens a second on these batches, repeated for `seconds`."""
    # As many threads as in the service.
    depth = 1 if engine.device.type == "cpu" else 2
    end = (begin := time.perf_counter()) + seconds

    def work(part: Sequence[Sequence[EncodedAd]]) -> int:
        tokens = 0
        for batch in itertools.cycle(part):
            engine.run(batch)
            tokens += sum(ad.tokens for ad in batch)
            if time.perf_counter() > end:
                return tokens
        return tokens

    with ThreadPoolExecutor(depth) as threads:
        tokens = sum(threads.map(work, [cut[index::depth] for index in range(depth)]))
    return tokens / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
