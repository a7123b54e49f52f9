"""Measures a real server under overload.

    python -m tests.measurements.overload --model model_store/demo [--only overload ...]
        [--set NAME=VALUE ...]

It prints figures and asserts nothing. It needs the ads of the project's shared folder. The load
generator shares the machine with the server, so capacity and overload are measured with the same
generator.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from app.bench.http_client import ConnectionPool, HttpReply, classify_request
from app.serving.process import TRIM_INTERVAL_SECONDS
from tests.support.polling import wait_until
from tests.support.repository import shared_ads
from tests.support.server_process import free_port, metric, start_server

CONNECTIONS = 16
OBEYING_CLIENTS = 20


class OverloadBench:
    """A running server and the measurements on it."""

    def __init__(self, address: str, process: int, ads: list[dict[str, str]]) -> None:
        self.address, self.process, self.ads = address, process, ads
        self.requests = [
            classify_request({"text": ad["text"], "title": ad.get("title")}) for ad in ads
        ]
        self.random = random.Random(7)  # noqa: S311  not a secret
        self.peak = 0.0

    def rss(self) -> float:
        """Return the server's resident memory in MiB."""
        status = Path(f"/proc/{self.process}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def cpu(self) -> float:
        """Return the CPU seconds of the server so far."""
        parts = Path(f"/proc/{self.process}/stat").read_text(encoding="ascii").split()
        return (int(parts[13]) + int(parts[14])) / os.sysconf("SC_CLK_TCK")

    def tokens(self) -> float:
        """Return the tokens of all batches so far."""
        return metric(self.address, "batch_tokens_sum")

    def batch_seconds(self) -> float:
        """Return the seconds of all batches so far."""
        return metric(self.address, "batch_seconds_sum")

    async def capacity(self, seconds: float) -> None:
        """Measure the highest rate, in a closed loop over a few connections."""
        await self._closed(3)
        tokens, cpu = self.tokens(), self.cpu()
        replies = await self._closed(seconds)
        self.peak = len(replies) / seconds
        show(
            "capacity", ads_per_s=self.peak, statuses=statuses(replies), **spread(replies),
            tokens_per_s=(self.tokens() - tokens) / seconds, cpu_s=self.cpu() - cpu,
            rss_mb=self.rss(),
        )  # fmt: skip

    async def _closed(self, seconds: float) -> list[HttpReply]:
        replies: list[HttpReply] = []
        end = time.perf_counter() + seconds
        links = ConnectionPool(self.address)

        async def one() -> None:
            while time.perf_counter() < end:
                replies.append(await links.send(self.random.choice(self.requests)))

        await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
        links.close()
        return [reply for reply in replies if reply.ended < end]

    async def overload(self, seconds: float, factor: float = 3.0) -> None:
        """Send a multiple of the capacity, in an open loop, next to clients that obey refusals."""
        rss, tokens, cpu = self.rss(), self.tokens(), self.cpu()
        links = ConnectionPool(self.address)
        begin = time.perf_counter()
        end = begin + seconds
        obeying = [asyncio.create_task(self._obey(links, end)) for _ in range(OBEYING_CLIENTS)]
        replies = await self._open_loop(links, factor * self.peak, end)
        tries = [await task for task in obeying]
        in_time = [reply for reply in replies if reply.ended < end]
        done = sum(reply.status == 200 for reply in in_time)
        answered = [reply for reply in replies if reply.status == 200]
        refused = [reply for reply in replies if reply.status == 429]
        show(
            "overload", offered_per_s=len(replies) / seconds, done_per_s=done / seconds,
            of_peak=done / seconds / self.peak, statuses=statuses(replies), **spread(answered),
            tokens_per_s=(self.tokens() - tokens) / (time.perf_counter() - begin),
            cpu_s=self.cpu() - cpu,
            retry_after=dict(sorted(Counter(reply.retry_after for reply in refused).items())),
            refusal_ms={name: 1000 * value for name, value in spread(refused).items()},
            obeying_tries=dict(sorted(Counter(tries).items())),
            rss_mb_before=rss, rss_mb_after=self.rss(),
        )  # fmt: skip
        links.close()

    async def _open_loop(self, links: ConnectionPool, rate: float, end: float) -> list[HttpReply]:
        calls = []
        due = time.perf_counter()
        while due < end:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            calls.append(asyncio.create_task(links.send(self.random.choice(self.requests), due)))
            due += self.random.expovariate(rate)
        return list(await asyncio.gather(*calls))

    async def _obey(self, links: ConnectionPool, end: float) -> int:
        """Retry as `Retry-After` says; return the number of tries, or -1 if it fails otherwise."""
        await asyncio.sleep(self.random.uniform(0.2, 0.6) * (end - time.perf_counter()))
        tries = 1
        while (reply := await links.send(self.random.choice(self.requests))).status == 429:
            await asyncio.sleep(reply.retry_after)
            tries += 1
        return tries if reply.status == 200 else -1

    async def obeying(self, clients: int) -> None:
        """Send from many clients at once that all obey `Retry-After`; count their tries."""
        links = ConnectionPool(self.address)
        begin = time.perf_counter()

        async def one() -> tuple[int, float]:
            tries = 1
            while (reply := await links.send(self.random.choice(self.requests))).status == 429:
                await asyncio.sleep(reply.retry_after)
                tries += 1
            return (tries if reply.status == 200 else -1), time.perf_counter() - begin

        ends = await asyncio.gather(*(one() for _ in range(clients)))
        show(
            "polite", clients=clients, tries=dict(sorted(Counter(one for one, _ in ends).items())),
            last_s=max(end for _, end in ends),
            of_peak=clients / max(end for _, end in ends) / self.peak,
        )  # fmt: skip

    async def bulk(self, ads: int, per_request: int) -> None:
        """Measure interactive requests alone, then next to a bulk job."""
        links = ConnectionPool(self.address)
        alone = await self._open_loop(links, 2, time.perf_counter() + 30)
        show("interactive alone", statuses=statuses(alone), **spread(alone))
        bodies = [
            classify_request(
                {
                    "ads": [
                        {"text": ad["text"]} for ad in self.random.choices(self.ads, k=per_request)
                    ]
                },
                "/classify/batch",
            )
            for _ in range(ads // per_request)
        ]
        seen: Counter[int] = Counter()

        async def worker() -> None:
            while bodies:
                body = bodies.pop()
                while (reply := await links.send(body)).status == 429:
                    seen[429] += 1
                    await asyncio.sleep(reply.retry_after)
                seen[reply.status] += 1

        begin = time.perf_counter()
        job = asyncio.gather(*(worker() for _ in range(4)))
        interactive: list[HttpReply] = []
        while not job.done():
            interactive += await self._open_loop(links, 2, time.perf_counter() + 5)
        show(
            "interactive beside bulk", statuses=statuses(interactive), **spread(interactive),
            bulk_statuses=dict(seen), bulk_ads_per_s=ads / (time.perf_counter() - begin),
        )  # fmt: skip

    async def burst(self, connections: int) -> None:
        """Open many connections at once, each with one request."""
        rss, batches, cpu = self.rss(), self.batch_seconds(), self.cpu()
        links = ConnectionPool(self.address)
        calls = [
            asyncio.create_task(links.send(self.random.choice(self.requests)))
            for _ in range(connections)
        ]
        while sum(call.done() for call in calls) < connections * 0.9:  # noqa: ASYNC110  there is no event
            await asyncio.sleep(0.05)
        # Without the engine's time on all its threads.
        cpu = self.cpu() - cpu - (self.batch_seconds() - batches) * (os.cpu_count() or 1)
        replies = await asyncio.gather(*calls)
        refused = [reply for reply in replies if reply.status == 429]
        show(
            "burst", statuses=statuses(replies), **spread(replies), rss_mb_before=rss,
            cpu_ms_a_refusal=1000 * cpu / (0.9 * connections),
            refusal_s=spread(refused), rss_mb_after=self.rss(),
        )  # fmt: skip
        links.close()


def statuses(replies: list[HttpReply]) -> dict[int, int]:
    """Count replies by status."""
    return dict(sorted(Counter(reply.status for reply in replies).items()))


def spread(replies: list[HttpReply]) -> dict[str, float]:
    """Return median, 99th percentile and maximum of the replies' seconds."""
    times = sorted(reply.seconds for reply in replies)
    if len(times) < 2:
        return {}
    return {
        "p50": statistics.median(times),
        "p99": statistics.quantiles(times, n=100)[98],
        "max": times[-1],
    }


def show(part: str, **figures: object) -> None:
    """Print one part's figures as a line of JSON."""

    def rounded(value: object) -> object:
        if isinstance(value, dict):
            return {key: rounded(one) for key, one in value.items()}
        return round(value, 4) if isinstance(value, float) else value

    print(json.dumps({"part": part, **{k: rounded(v) for k, v in figures.items()}}), flush=True)  # noqa: T201


def main() -> None:
    """Start a server and run the parts."""
    options = argparse.ArgumentParser()
    options.add_argument("--model", type=Path, default=Path("model_store/demo"))
    options.add_argument("--only", nargs="*", default=["overload", "polite", "burst", "bulk"])
    options.add_argument("--set", nargs="*", default=[], help="settings, as MAX_QUEUE_SECONDS=5")
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--bulk-ads", type=int, default=10_000)
    given = options.parse_args()
    ads = shared_ads(2000)
    if ads is None:
        sys.exit("The shared folder with real ads is missing.")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        settings = dict(pair.lower().split("=", 1) for pair in given.set)
        process = start_server(given.model, log, port, **settings)
        bench = OverloadBench(f"http://127.0.0.1:{port}", process.pid, list(ads))
        parts: dict[str, Callable[[], Awaitable[None]]] = {
            "overload": lambda: bench.overload(given.seconds),
            "polite": lambda: bench.obeying(1500),
            "burst": lambda: bench.burst(5000),
            "bulk": lambda: bench.bulk(given.bulk_ads, 64),
        }

        async def run() -> None:
            await bench.capacity(given.seconds / 2)
            for name in given.only:
                await parts[name]()
                await asyncio.sleep(5)
            # Longer than the server waits before it returns memory to the system.
            await asyncio.sleep(2 * TRIM_INTERVAL_SECONDS)
            show("at rest", rss_mb=bench.rss())

        try:
            wait_until(lambda: b"ready after" in log.read_bytes(), seconds=120)
            asyncio.run(run())
        finally:
            process.terminate()
            process.wait(timeout=60)


if __name__ == "__main__":
    main()
