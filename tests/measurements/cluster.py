"""Measures a cluster: the rate by number of replicas, and the effect of a node's death.

    python -m tests.measurements.cluster [--replicas 1 2 4] [--rounds 2] [--kills 3]

It prints figures and asserts nothing. The cluster has three nodes on this machine and uses
deploy/ray/cpu.yaml with fixed numbers of replicas. Its engine takes a fixed time for each token,
so that the figures do not depend on the cores. Then a node dies under load, while clients go on
with the default retries. The last measurement has an engine that answers at once, which shows the
overhead of a request.
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
"""Clients for each replica: enough that ads wait while a batch is computed."""
MODEL = Path("model_store/demo").absolute()


def main() -> None:
    """Run all measurements."""
    options = argparse.ArgumentParser()
    options.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4])
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--seconds", type=float, default=20.0)
    options.add_argument("--kills", type=int, default=3)
    given = options.parse_args()
    rates: dict[int, list[float]] = {count: [] for count in given.replicas}
    for _ in range(given.rounds):
        for count in given.replicas:
            with cluster(count) as (address, _), busy_clients(address, CLIENTS * count) as clients:
                rates[count].append(steady_rate(clients, given.seconds))
            print_line(
                f"{count} replicas: {rates[count][-1]:.2f} ads/s, failed {len(clients.failed)}"
            )
    medians = {count: statistics.median(found) for count, found in rates.items()}
    for count, rate in medians.items():
        ratio = rate / medians[given.replicas[0]]
        print_line(f"{count} replicas: median {rate:.2f} ads/s, {ratio:.2f} times")
    for _ in range(given.kills):
        measure_node_death(given.seconds)
    with cluster(1, seconds_a_token=0.0) as (address, _), busy_clients(address, 16) as clients:
        print_line(
            f"an engine that answers at once: {steady_rate(clients, given.seconds):.0f} requests/s"
        )


def measure_node_death(seconds: float) -> None:
    """Kill a node that has one of two replicas of each deployment; print the recovery."""
    with cluster(2) as (address, process), busy_clients(address, CLIENTS) as clients:
        rate = steady_rate(clients, seconds)
        process.send_signal(signal.SIGUSR1)
        killed = time.monotonic()
        wait_until(lambda: clients.recovery_seconds(killed, rate) is not None, seconds=120)
        full = clients.recovery_seconds(killed, rate)
    ends = [killed, *(at for at, _, _ in clients.answered if at > killed)]
    pause = max(after - before for before, after in pairwise(ends))
    print_line(
        f"a node died at {rate:.1f} ads/s: full rate after {full:.1f} s, "
        f"longest time without an answer {pause:.1f} s, "
        f"failed {len(clients.failed)} of {clients.sent}, answered {len(clients.answered)}"
    )


def steady_rate(clients: BusyClients, seconds: float) -> float:
    """Return the rate in ads a second once all replicas are busy."""
    wait_until(lambda: len(clients.answered) > 2 * CLIENTS, seconds=60)
    time.sleep(3)
    before, begin = len(clients.answered), time.monotonic()
    time.sleep(seconds)
    return (len(clients.answered) - before) / (time.monotonic() - begin)


@contextmanager
def cluster(
    count: int, seconds_a_token: float = SECONDS_A_TOKEN
) -> Iterator[tuple[str, Popen[bytes]]]:
    """Run a cluster with this number of replicas of each deployment; yields address and process."""
    os.environ |= {"TESTS_WORKERS": "2", "TESTS_REPLICAS": str(count)}
    command = (
        "tests.support.serve_cluster",
        "tests.support.fixed_time_engine:FixedTimeEngine",
        str(seconds_a_token),
    )
    with tempfile.TemporaryDirectory() as folder:
        with running_process(MODEL, Path(folder) / "log", command) as running:
            yield running


def print_line(line: str) -> None:
    """Print a line and flush it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
