"""Measures the rate of front ends with an engine that answers at once.

    python -m tests.measurements.frontends --ads FILE [--workers 1 2 4] [--generators 2]

Prints requests a second of one ad each, in a closed loop, for each number of workers; 1 is the
service of one process. Generators and service share the machine: the figures are meaningful only if
there are at least as many cores as processes.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.bench.load_generator import LoadPlan
from app.bench.sender_processes import SenderPool
from app.bench.sweep import run_once
from app.bench.target import LoadTarget
from app.core.types import EncodedAd, Scores
from app.data.labelled_ads import read_first_ads
from app.model.checkpoint import Checkpoint
from tests.support.server_process import metric, running_process


class InstantEngine:
    """Gives every ad the same answer, without a pass."""

    devices = staticmethod(lambda wanted: [wanted])
    device, dtype, batch_tokens = torch.device("cpu"), "float32", 32768

    def __init__(self, checkpoint: Checkpoint, *_: Any) -> None:
        self._scores = Scores(
            {
                name: np.full(len(head.labels), 1 / len(head.labels), dtype=np.float32)
                for name, head in checkpoint.heads.items()
            }
        )

    def warm_up(self, _: Sequence[EncodedAd]) -> float:
        """Return a rate at which admission control refuses nothing."""
        return 1e9

    def run(self, batch: Sequence[EncodedAd]) -> list[Scores]:
        """Return the same scores for each ad."""
        return [self._scores] * len(batch)


def main() -> None:
    """Measure each number of workers, in several rounds."""
    options = argparse.ArgumentParser()
    options.add_argument("--ads", type=Path, required=True)
    options.add_argument("--model", type=Path, default=Path("model_store/demo"))
    options.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    options.add_argument("--generators", type=int, default=2)
    options.add_argument("--connections", type=int, default=64)
    options.add_argument("--seconds", type=float, default=10)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    ads = read_first_ads(given.ads)
    command = ("tests.support.serve_with_engine", "tests.measurements.frontends:InstantEngine")
    print(json.dumps({"cores": os.cpu_count(), **vars(given)}, default=str), flush=True)  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(given.rounds):
            for workers in given.workers:
                log = Path(folder) / "log"
                quiet = {"workers": str(workers), "hang_seconds": "3600"}
                with running_process(given.model, log, command, **quiet) as (address, _):
                    measure(given, address, workers, LoadTarget(address).requests(ads, None, 1))


def measure(given: argparse.Namespace, address: str, workers: int, requests: Sequence[Any]) -> None:
    """Put one service under load and print its figures as a line of JSON."""
    plan = LoadPlan(address, requests, None, given.connections, 2.0, given.seconds, 30.0, 1)
    with SenderPool(given.generators) as generators:
        summary = run_once(plan, generators)
    batches, batched = (metric(address, f"batch_ads_{part}") for part in ("count", "sum"))
    figures = {
        "workers": workers,
        "requests_per_s": round(summary.achieved, 1),
        "tokens_per_s": round(summary.tokens),
        "ads_a_batch": round(batched / batches, 1),
        **{name: round(value, 2) for name, value in summary.latency_ms.items()},
        "statuses": summary.statuses,
        "failures": summary.failures,
    }
    print(json.dumps(figures), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
