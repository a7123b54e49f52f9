"""Measures what a hot swap costs the requests at that time.

    python -m tests.measurements.swaps --ads FILE [--model model_store/demo] [--set workers=2 ...]

It prints figures and asserts nothing. A closed loop has 16 connections, and the server swaps three
times between the checkpoint and a copy with another temperature. The load generator shares the
machine with the server.
"""

import argparse
import asyncio
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path

import psutil

from app.bench.http_client import ConnectionPool, HttpReply, classify_request
from app.model.checkpoint_verification import CONFIG
from tests.support.server_process import HTTP, running_process

CONNECTIONS = 16
KEY = "the-key-of-this-bench"
SETTLING_SECONDS = 40.0
"""Time for old requests to end and for the server to return memory to the system."""


def main() -> None:
    """Run the server and measure."""
    options = argparse.ArgumentParser()
    options.add_argument("--ads", type=Path, required=True)
    options.add_argument("--model", type=Path, default=Path("model_store/demo"))
    options.add_argument("--seconds", type=float, default=15.0, help="before the first swap")
    options.add_argument("--set", nargs="*", default=[])
    given = options.parse_args()
    settings = dict(pair.split("=", 1) for pair in given.set)
    with given.ads.open(encoding="utf-8") as lines:
        ads = [json.loads(line) for line in islice(lines, 2000)]
    requests = [classify_request({"text": ad["text"]}) for ad in ads]
    with tempfile.TemporaryDirectory() as folder:
        for name, temperature in (("v1", 1.0), ("v2", 1.1)):
            shutil.copytree(given.model, Path(folder) / name)
            file = Path(folder) / name / CONFIG
            content = json.loads(file.read_text(encoding="utf-8"))
            content["heads"]["job_category"]["temperature"] = temperature
            file.write_text(json.dumps(content), encoding="utf-8")
        model, log = Path(folder) / "v1", Path(folder) / "log"
        with running_process(model, log, admin_keys=KEY, **settings) as (address, process):
            asyncio.run(measure(address, process.pid, requests, given.seconds))


async def measure(address: str, pid: int, requests: Sequence[bytes], seconds: float) -> None:
    """Print latencies and memory before, during and after each swap."""
    links, replies, going, most = ConnectionPool(address), [], True, [0.0, 0.0]
    random_source = random.Random(7)  # noqa: S311  not a secret

    async def send_ads() -> None:
        while going:
            replies.append(await links.send(random_source.choice(requests)))

    async def sample_memory() -> None:
        while going:
            most[:] = map(max, most, memory(pid))
            await asyncio.sleep(0.2)

    sending = [asyncio.create_task(send_ads()) for _ in range(CONNECTIONS)]
    await asyncio.sleep(5)
    sampling = asyncio.create_task(sample_memory())
    begin = time.perf_counter()
    await asyncio.sleep(seconds)
    print_figures("before", replies, begin, time.perf_counter(), memory(pid))
    for name in ("v2", "v1", "v2"):
        most[:] = [0.0, 0.0]
        begin = time.perf_counter()
        answer = await asyncio.to_thread(
            HTTP.post, f"{address}/admin/model", json={"model": name},
            headers={"Authorization": f"Bearer {KEY}"},
        )  # fmt: skip
        answer.raise_for_status()
        print_figures(
            f"swap, {answer.json()['seconds']} s", replies, begin, time.perf_counter(), most
        )
        begin = time.perf_counter()
        await asyncio.sleep(seconds)
        print_figures("after", replies, begin, time.perf_counter(), memory(pid))
    going = False
    await asyncio.gather(*sending, sampling)
    await asyncio.sleep(SETTLING_SECONDS)
    failed = sum(one.status != 200 for one in replies)
    resident, card = memory(pid)
    print_line(
        f"failed: {failed} of {len(replies)}; at rest {resident:.0f} MB, on the card {card:.0f} MB"
    )


def print_figures(
    what: str, replies: Sequence[HttpReply], begin: float, end: float, used: Sequence[float]
) -> None:
    """Print the figures of the replies in a span of time."""
    inside = sorted((one for one in replies if begin <= one.ended < end), key=lambda one: one.ended)
    times = [one.seconds * 1000 for one in inside] or [0.0, 0.0]
    ends = [begin, *(one.ended for one in inside), end]
    pause = max(after - before for before, after in pairwise(ends))
    hundredths = statistics.quantiles(times, n=100) if len(times) > 1 else times * 99
    print_line(
        f"{what}: {len(inside) / (end - begin):.1f}/s, p50 {hundredths[49]:.0f} ms, "
        f"p99 {hundredths[98]:.0f} ms, slowest {max(times):.0f} ms, "
        f"longest time without an answer {pause * 1000:.0f} ms, "
        f"failed {sum(one.status != 200 for one in inside)}, "
        f"memory {used[0]:.0f} MB, on the card {used[1]:.0f} MB"
    )


def print_line(line: str) -> None:
    """Print a line and flush it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def memory(pid: int) -> tuple[float, float]:
    """Return the resident MiB of a server's processes, and the MiB in use on all cards."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    resident = sum(one.memory_info().rss for one in family) / 2**20
    try:
        shown = subprocess.run(
            ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return resident, 0.0
    return resident, float(sum(map(int, shown.split())))


if __name__ == "__main__":
    main()
