"""What more replicas bring, and what a node's death costs: prints figures, asserts nothing.

    python -m tests.measurements.cluster [--replicas 1 2 4] [--rounds 2] [--kills 3]

A real cluster of three nodes on this machine, deploy/ray/cpu.yaml with fixed numbers of replicas.
Its engine takes a fixed time for each token, so that neither the cores nor the other replicas on
them are measured. Then a node dies under load, and clients with the ordinary retries go on; and
last an engine that answers at once shows what a request costs on its way.
"""

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from subprocess import Popen

from tests.support.busy_clients import BusyClients, busy_clients
from tests.support.polling import wait_until
from tests.support.server_process import running_process

SECONDS_A_TOKEN = 0.01
CLIENTS = 12
"""For each replica: some are answered together, the others wait, so that none runs dry."""
MODEL = Path("model_store/demo").absolute()


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4])
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--seconds", type=float, default=20.0)
    options.add_argument("--kills", type=int, default=3)
    given = options.parse_args()
    rates: dict[int, list[float]] = {count: [] for count in given.replicas}
    for _ in range(given.rounds):
        for count in given.replicas:
            with cluster(count) as (address, _), busy_clients(address, CLIENTS * count) as asked:
                rates[count].append(steady(asked, given.seconds))
            say(f"{count} replicas: {rates[count][-1]:.2f} ads/s, failed {len(asked.failed)}")
    medians = {count: statistics.median(found) for count, found in rates.items()}
    for count, rate in medians.items():
        ratio = rate / medians[given.replicas[0]]
        say(f"{count} replicas: median {rate:.2f} ads/s, {ratio:.2f} times")
    for _ in range(given.kills):
        kill(given.seconds)
    with cluster(1, seconds_a_token=0.0) as (address, _), busy_clients(address, 16) as asked:
        say(f"an engine that answers at once: {steady(asked, given.seconds):.0f} requests/s")


def kill(seconds: float) -> None:
    """Let a node die with one of two replicas of each deployment, and print what follows."""
    with cluster(2) as (address, process), busy_clients(address, CLIENTS) as asked:
        rate = steady(asked, seconds)
        process.send_signal(signal.SIGUSR1)
        killed = time.monotonic()
        wait_until(lambda: asked.recovery_seconds(killed, rate) is not None, seconds=120)
        full = asked.recovery_seconds(killed, rate)
    ends = [killed, *(at for at, _, _ in asked.answered if at > killed)]
    pause = max(after - before for before, after in pairwise(ends))
    say(
        f"a node died at {rate:.1f} ads/s: full rate after {full:.1f} s, "
        f"longest time without an answer {pause:.1f} s, "
        f"failed {len(asked.failed)} of {asked.sent}, answered {len(asked.answered)}"
    )


def steady(asked: BusyClients, seconds: float) -> float:
    """Return the ads a second once all replicas are busy."""
    wait_until(lambda: len(asked.answered) > 2 * CLIENTS, seconds=60)
    time.sleep(3)
    before, begin = len(asked.answered), time.monotonic()
    time.sleep(seconds)
    return (len(asked.answered) - before) / (time.monotonic() - begin)


@contextmanager
def cluster(
    count: int, seconds_a_token: float = SECONDS_A_TOKEN
) -> Iterator[tuple[str, Popen[bytes]]]:
    """Give a cluster's address and process, with so many replicas of each deployment."""
    os.environ |= {"TESTS_WORKERS": "2", "TESTS_REPLICAS": str(count)}
    command = (
        "tests.support.serve_cluster",
        "tests.support.fixed_time_engine:FixedTimeEngine",
        str(seconds_a_token),
    )
    with tempfile.TemporaryDirectory() as folder:
        with running_process(MODEL, Path(folder) / "log", command) as running:
            yield running


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
