"""Measures a real server's memory and latency under hours of mixed traffic.

    python -m tests.measurements.soak --minutes 60 --ads ../shared/data/ads.jsonl --out soak.json

Starts `doppelkopf serve` on a free port, measures its capacity, then sends 70 % of it in an open
loop: requests are sent at random times, and latency counts from the intended time. Invalid requests
come on top. Prints the figures of every minute and at the end the slope of the memory. Exits with 1
if an answer was not one of those documented for its request.
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from app.core.errors import DataError
from app.data.labelled_ads import read_first_ads
from app.serving.settings import load_settings
from tests.measurements.load_by_minute import HEADER, Minute, resident, slope, value
from tests.measurements.traffic import Traffic, TrafficRequest
from tests.support.polling import wait_until
from tests.support.server_process import free_port, start_server

CAPACITY_CLIENTS = 16
CAPACITY_SECONDS = 30.0
SAMPLE_SECONDS = 5.0
MAX_IN_FLIGHT = 500
"""Further requests are not sent but counted as held back, which bounds the generator's memory."""


class Soak:
    """Traffic to a running server, and its figures by minute."""

    def __init__(self, client: httpx.AsyncClient, server: psutil.Process, traffic: Traffic) -> None:
        self._client, self._server, self._traffic = client, server, traffic
        self._begin = time.perf_counter()
        self._running: set[asyncio.Task[None]] = set()
        self.minutes: list[Minute] = []
        self.memory: list[tuple[float, float]] = []
        """Pairs of hours since the start and resident MiB of the server with its children."""

    async def capacity(self, seconds: float) -> float:
        """Return the highest rate of valid requests a second, in a closed loop."""
        end = time.perf_counter() + seconds
        done = 0

        async def client() -> None:
            nonlocal done
            while time.perf_counter() < end:
                outcome = await self._send(self._traffic.draw_valid())
                done += outcome == "200"

        begin = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CAPACITY_CLIENTS)))
        return done / (time.perf_counter() - begin)

    async def traffic(self, rate: float, seconds: float) -> None:
        """Send `rate` requests a second at random times and sample the server meanwhile.

        Raises:
            httpx.TransportError, psutil.Error: the server has ended.
        """
        self._begin = time.perf_counter()
        watch = asyncio.create_task(self._watch(every=min(SAMPLE_SECONDS, seconds / 20)))
        intended = self._begin
        while (intended := intended + self._traffic.pause(rate)) < self._begin + seconds:
            await asyncio.sleep(intended - time.perf_counter())
            if watch.done():
                break
            if len(self._running) >= MAX_IN_FLIGHT:
                self._minute(intended).outcomes["held back"] += 1
                continue
            task = asyncio.create_task(self._send_and_record(self._traffic.draw(), intended))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if self._running:
            await asyncio.wait(self._running, timeout=60)
        if watch.done():
            watch.result()  # raises, because the server has ended
        watch.cancel()

    async def _send_and_record(self, request: TrafficRequest, intended: float) -> None:
        outcome = await self._send(request)
        minute = self._minute(intended)
        minute.outcomes[outcome] += 1
        if outcome == "200":
            minute.latencies.append(time.perf_counter() - intended)

    async def _send(self, request: TrafficRequest) -> str:
        """Send a request; return its status, "left", or "unexpected" with the reason."""
        try:
            async with asyncio.timeout(request.leave_after):
                answer = await self._client.post(
                    request.path, content=request.content, headers=request.headers
                )
        except TimeoutError:
            return "left"
        except httpx.TransportError as error:
            return f"unexpected {type(error).__name__}"
        if answer.status_code in request.expected:
            return str(answer.status_code)
        return f"unexpected {answer.status_code}"

    async def _watch(self, every: float) -> None:
        shown = 0
        while True:
            now = time.perf_counter()
            minute = self._minute(now)
            memory = resident(self._server)
            self.memory.append(((now - self._begin) / 3600, memory))
            minute.memory.append(memory)
            # Like Prometheus, and more often.
            page = (await self._client.get("/metrics")).text
            minute.queued.append(value(page, "doppelkopf_queued_ads"))
            # A minute is printed when its requests have had another minute to end.
            while shown < len(self.minutes) - 2:
                print_line(self.minutes[shown].line(shown + 1))
                shown += 1
            await asyncio.sleep(every)

    def _minute(self, at: float) -> Minute:
        index = int((at - self._begin) / 60)
        while len(self.minutes) <= index:
            self.minutes.append(Minute())
        return self.minutes[index]


@contextmanager
def running_service(model: Path, log: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run a server; yields its address and process once it is ready."""
    port = free_port()
    process = start_server(model, log, port)
    address = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=address) as client:

            def ready() -> bool:
                assert process.poll() is None, log.read_text(encoding="utf-8")
                try:
                    return client.get("/health/ready").status_code == 200
                except httpx.TransportError:
                    return False

            wait_until(ready, seconds=120)
        yield address, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(timeout=60)


async def run_soak(
    given: argparse.Namespace, ads: list[dict[str, str]], address: str, server: psutil.Process
) -> dict:
    """Measure the capacity, send the traffic and print the table; returns all figures."""
    traffic = Traffic(ads, load_settings(environment={}).max_body_bytes)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=120) as client:
        run = Soak(client, server, traffic)
        capacity = await run.capacity(given.capacity_seconds)
        rate = capacity * given.load / Traffic.VALID_SHARE
        print_line(
            f"{capacity:.1f} valid requests/s at most; "
            f"{rate:.1f} requests/s for {given.minutes} min"
        )
        print_line(HEADER)
        await run.traffic(rate, given.minutes * 60)
    for index in range(max(0, len(run.minutes) - 2), len(run.minutes)):
        print_line(run.minutes[index].line(index + 1))
    outcomes = sum((minute.outcomes for minute in run.minutes), Counter())
    warm_up = min(given.warm_up, given.minutes / 4)
    return {
        "minutes": given.minutes,
        "capacity_requests_per_second": round(capacity, 2),
        "sent_requests_per_second": round(rate, 2),
        "rss_mb_after_warm_up": round(min(mb for at, mb in run.memory if at >= warm_up / 60), 1),
        "rss_mb_an_hour": round(slope(run.memory, warm_up / 60), 2),
        "warm_up_minutes": warm_up,
        "outcomes": dict(outcomes),
        "by_minute": [minute.row() for minute in run.minutes],
    }


def main() -> int:
    """Run from the command line; return the exit code."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", type=Path, default=Path("model_store/demo"))
    options.add_argument("--ads", type=Path, default=Path("../shared/data/ads.jsonl"))
    options.add_argument("--minutes", type=float, default=60)
    options.add_argument("--warm-up", type=float, default=10, help="minutes left out of the slope")
    options.add_argument("--load", type=float, default=0.7, help="share of the capacity")
    options.add_argument("--capacity-seconds", type=float, default=CAPACITY_SECONDS)
    options.add_argument("--out", type=Path, help="a JSON file for the figures")
    given = options.parse_args()
    try:
        ads = [{"text": ad.text, "title": ad.title} for ad in read_first_ads(given.ads)]
    except DataError as error:
        options.error(str(error))
    # SIGTERM stops the server too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with running_service(given.model, log) as (address, server):
            try:
                figures = asyncio.run(run_soak(given, ads, address, server))
            except (httpx.TransportError, psutil.Error) as error:
                last = "\n".join(log.read_text(encoding="utf-8").splitlines()[-20:])
                print_line(f"the server has ended ({error!r}); its last lines were:\n{last}")
                return 1
    print_line(
        f"slope of the memory after {figures['warm_up_minutes']:g} min: "
        f"{figures['rss_mb_an_hour']} MB an hour"
    )
    if given.out:
        given.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 1 if any(name.startswith("unexpected") for name in figures["outcomes"]) else 0


def print_line(text: str) -> None:
    """Print a line and flush it."""
    print(text, flush=True)  # noqa: T201  a script's result


if __name__ == "__main__":
    sys.exit(main())
