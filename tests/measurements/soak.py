"""Hours of mixed traffic at a part of what the real server can do: does its memory stay?

    python -m tests.measurements.soak --minutes 60 --ads ../shared/data/ads.jsonl --out soak.json

Starts `doppelkopf serve` on a free port of this machine, measures what it can do, then asks for
70 % of it in an open loop: requests come at random whatever the server does, timed from when they
were meant to be sent; mistakes come on top. Prints every minute's figures and at the end the slope
of the memory. Ends with 1 if any answer was not of the documented ones for its request.
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

from app.bench.ads import read_ads
from app.core.errors import DataError
from app.serving.settings import load_settings
from tests.measurements.minutes import HEADER, Minute, resident, slope, value
from tests.measurements.traffic import Shot, Traffic
from tests.support.polling import wait_until
from tests.support.server_process import free_port, start_server

CAPACITY_CLIENTS = 16
CAPACITY_SECONDS = 30.0
SAMPLE_SECONDS = 5.0
MAX_IN_FLIGHT = 500
"""More are not sent but counted as held back: the generator stays bounded in memory too."""


class Soak:
    """A running server under traffic, and what was seen minute by minute."""

    def __init__(self, client: httpx.AsyncClient, server: psutil.Process, traffic: Traffic) -> None:
        self._client, self._server, self._traffic = client, server, traffic
        self._begin = time.perf_counter()
        self._running: set[asyncio.Task[None]] = set()
        self.minutes: list[Minute] = []
        self.memory: list[tuple[float, float]] = []
        """Hours since the traffic began, and MB resident in the server and its children."""

    async def capacity(self, seconds: float) -> float:
        """Return the good requests a second it answers while clients wait in line."""
        end = time.perf_counter() + seconds
        done = 0

        async def client() -> None:
            nonlocal done
            while time.perf_counter() < end:
                outcome = await self._send(self._traffic.draw_good())
                done += outcome == "200"

        begin = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CAPACITY_CLIENTS)))
        return done / (time.perf_counter() - begin)

    async def traffic(self, rate: float, seconds: float) -> None:
        """Send `rate` requests a second at random times, and look at the server meanwhile.

        Raises:
            httpx.TransportError, psutil.Error: the server is gone.
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
            task = asyncio.create_task(self._fire(self._traffic.draw(), intended))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if self._running:
            await asyncio.wait(self._running, timeout=60)
        if watch.done():
            watch.result()  # raises what it saw: the server is gone
        watch.cancel()

    async def _fire(self, shot: Shot, intended: float) -> None:
        outcome = await self._send(shot)
        minute = self._minute(intended)
        minute.outcomes[outcome] += 1
        if outcome == "200":
            minute.latencies.append(time.perf_counter() - intended)

    async def _send(self, shot: Shot) -> str:
        """Return the status, "left", or what went wrong."""
        try:
            async with asyncio.timeout(shot.leave_after):
                answer = await self._client.post(
                    shot.path, content=shot.content, headers=shot.headers
                )
        except TimeoutError:
            return "left"
        except httpx.TransportError as error:
            return f"unexpected {type(error).__name__}"
        if answer.status_code in shot.expected:
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
            # Scraped as Prometheus does it, and more often.
            page = (await self._client.get("/metrics")).text
            minute.queued.append(value(page, "doppelkopf_queued_ads"))
            # A minute is shown when the requests it sent have had a minute to end.
            while shown < len(self.minutes) - 2:
                say(self.minutes[shown].line(shown + 1))
                shown += 1
            await asyncio.sleep(every)

    def _minute(self, at: float) -> Minute:
        index = int((at - self._begin) / 60)
        while len(self.minutes) <= index:
            self.minutes.append(Minute())
        return self.minutes[index]


@contextmanager
def serving(model: Path, log: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Give the address and the process of a real server that is ready."""
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


async def soak(
    given: argparse.Namespace, ads: list[dict[str, str]], address: str, server: psutil.Process
) -> dict:
    """Measure the capacity, send the traffic, print the table, return everything."""
    traffic = Traffic(ads, load_settings(environment={}).max_body_bytes)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=120) as client:
        run = Soak(client, server, traffic)
        capacity = await run.capacity(given.capacity_seconds)
        rate = capacity * given.load / Traffic.WORKING
        say(
            f"{capacity:.1f} good requests/s at most; {rate:.1f} requests/s for {given.minutes} min"
        )
        say(HEADER)
        await run.traffic(rate, given.minutes * 60)
    for index in range(max(0, len(run.minutes) - 2), len(run.minutes)):
        say(run.minutes[index].line(index + 1))
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
        ads = [{"text": ad.text, "title": ad.title} for ad in read_ads(given.ads)]
    except DataError as error:
        options.error(str(error))
    # Whichever way it is stopped, its server stops with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with serving(given.model, log) as (address, server):
            try:
                figures = asyncio.run(soak(given, ads, address, server))
            except (httpx.TransportError, psutil.Error) as error:
                last = "\n".join(log.read_text(encoding="utf-8").splitlines()[-20:])
                say(f"the server is gone ({error!r}); its last lines were:\n{last}")
                return 1
    say(
        f"slope of the memory after {figures['warm_up_minutes']:g} min: "
        f"{figures['rss_mb_an_hour']} MB an hour"
    )
    if given.out:
        given.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 1 if any(name.startswith("unexpected") for name in figures["outcomes"]) else 0


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201  a script's result


if __name__ == "__main__":
    sys.exit(main())
