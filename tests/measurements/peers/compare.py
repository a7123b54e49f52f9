"""Compares Doppelkopf with other servers on the same checkpoint and the same ads.

    python -m tests.measurements.peers.compare --ads ../shared/data/ads.jsonl \\
        --environments ~/peers --out tests/measurements/results/peers.json

Each peer is installed once, into an environment of its own below `--environments` (gigabytes; pip's
settings decide which build of torch). In each round every contender is started, checked, measured
and stopped, in the order of the list and in the next round backwards, so that a machine that slows
down affects all alike. Only the contender under measurement runs. The figures are written after
every step.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from transformers.utils.logging import disable_progress_bar

from app.bench.report import provenance, write_json
from app.core.errors import CheckpointError, DataError
from app.data.labelled_ads import read_first_ads
from app.model.checkpoint import open_checkpoint
from tests.measurements.peers.ad_requests import separator
from tests.measurements.peers.clear_ads import clear_ads
from tests.measurements.peers.contender_round import ComparisonSetup, measure_round
from tests.measurements.peers.environments import install_environment
from tests.measurements.peers.export import export
from tests.measurements.peers.load_phases import OVERLOAD, USEFUL_SECONDS
from tests.measurements.peers.options import described, parse
from tests.measurements.peers.peer_server import ServerError
from tests.measurements.peers.report import document, show
from tests.measurements.peers.results import HEADINGS, ContenderResults, figures

CHECKED_ADS = 20


def turns(
    standings: Sequence[ContenderResults], rounds: int
) -> Iterator[tuple[int, ContenderResults]]:
    """Yield round and contender, every second round backwards, without those that have failed."""
    for number in range(rounds):
        for standing in standings if number % 2 == 0 else reversed(standings):
            if standing.failure is None:
                yield number, standing


def run(
    given: argparse.Namespace, scratch: Path, console: Console
) -> tuple[list[ContenderResults], bool]:
    """Measure all contenders; return their results, and whether no interrupt ended it early."""
    checkpoint = open_checkpoint(given.model)
    ads = read_first_ads(given.ads)
    clear = clear_ads(checkpoint, ads, CHECKED_ADS)
    if not clear:
        raise DataError("No ad has a clear answer to compare with.")
    export(checkpoint, scratch)
    setting = ComparisonSetup(
        checkpoint, ads, clear, separator(checkpoint), scratch, given.seconds, given.storm
    )
    facts = facts_of(given, setting)
    standings = [ContenderResults(contender) for contender in given.contenders]

    def report(step: str, standing: ContenderResults) -> None:
        console.print(f"{step}, {line(standing)}", soft_wrap=True)
        if given.out:
            write_json(document(facts, standings), given.out)

    try:
        for standing in standings:
            install_environment(standing, given.environments.resolve())
            report("installed", standing)
        for number, standing in turns(standings, given.rounds):
            try:
                standing.turns.append(measure_round(standing, setting, seed=number + 1))
            except ServerError as error:
                standing.failure = str(error)
            report(f"round {number + 1}", standing)
    except KeyboardInterrupt:
        console.print("Interrupted.")
        return standings, False
    return standings, True


def facts_of(given: argparse.Namespace, setting: ComparisonSetup) -> dict[str, Any]:
    """Return date, machine, versions and options of the comparison."""
    here = provenance()
    return here | {
        "command": described(sys.argv[1:]),
        "versions": here["versions"]
        | {"torch": torch.__version__, "transformers": transformers.__version__},
        "checkpoint": f"{setting.checkpoint.name}, revision {setting.checkpoint.revision}",
        "ads": len(setting.ads),
        "checked_ads": len(setting.clear),
        "rounds": given.rounds,
        "closed_loop_seconds": given.seconds,
        "storm_seconds": given.storm,
        "storm_times_capacity": OVERLOAD,
        "useful_within_seconds": USEFUL_SECONDS,
    }


def line(standing: ContenderResults) -> str:
    """Return the latest figures of a contender in one line."""
    if standing.failure:
        return f"{standing.contender.name} failed: {standing.failure}"
    found = figures(standing.turns[-1]) if standing.turns else {}
    known = [f"{heading} {found[name]:,.1f}" for name, heading in HEADINGS.items() if name in found]
    return f"{standing.contender.name}: {', '.join(known) or standing.contender.remark}"


def main(words: Sequence[str]) -> int:
    """Run a comparison; returns 1 if a contender failed and 130 after an interrupt."""
    given = parse(words)
    # SIGTERM stops the contender's server too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Wide enough for the tables when the output is a file.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    disable_progress_bar()
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch:
        try:
            standings, ended = run(given, Path(scratch), console)
        except (CheckpointError, DataError) as error:
            console.print(str(error))
            return 1
    for one in show(standings):
        console.print(one)
    if not ended:
        return 130
    return 1 if any(one.failure for one in standings) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
