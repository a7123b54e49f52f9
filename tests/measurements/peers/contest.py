"""Doppelkopf and its peers on the same checkpoint and the same ads, in turns.

    python -m tests.measurements.peers.contest --ads ../shared/data/ads.jsonl --environments ~/peers \\
        --out tests/measurements/results/peers.json

Installs each peer into an environment of its own below `--environments`, once (gigabytes; the build
of torch is the one that pip is set up for). In each round every contender is started, checked,
measured and stopped, in the order of the list and then backwards, so that a machine that becomes
slower meanwhile harms all alike. Only the one that is measured runs. The figures so far are written
after every turn.
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
from tests.measurements.peers.asking import separator
from tests.measurements.peers.checking import clear_ads
from tests.measurements.peers.environments import install
from tests.measurements.peers.export import export
from tests.measurements.peers.measuring import OVERLOAD, USEFUL_SECONDS
from tests.measurements.peers.options import described, parse
from tests.measurements.peers.reporting import document, show
from tests.measurements.peers.serving import ServerError
from tests.measurements.peers.standing import HEADINGS, Standing, figures
from tests.measurements.peers.turn import Setting, take_turn

CHECKED_ADS = 20


def turns(standings: Sequence[Standing], rounds: int) -> Iterator[tuple[int, Standing]]:
    """Yield whose turn it is, forth and back; a contender that failed has no more."""
    for number in range(rounds):
        for standing in standings if number % 2 == 0 else reversed(standings):
            if standing.failure is None:
                yield number, standing


def run(given: argparse.Namespace, scratch: Path, console: Console) -> tuple[list[Standing], bool]:
    """Measure all that was asked for; return what there is, and whether nobody ended it before."""
    checkpoint = open_checkpoint(given.model)
    ads = read_first_ads(given.ads)
    clear = clear_ads(checkpoint, ads, CHECKED_ADS)
    if not clear:
        raise DataError("No ad has a clear answer to compare with.")
    export(checkpoint, scratch)
    setting = Setting(
        checkpoint, ads, clear, separator(checkpoint), scratch, given.seconds, given.storm
    )
    facts = facts_of(given, setting)
    standings = [Standing(contender) for contender in given.contenders]

    def tell(begin: str, standing: Standing) -> None:
        console.print(f"{begin}, {line(standing)}", soft_wrap=True)
        if given.out:
            write_json(document(facts, standings), given.out)

    try:
        for standing in standings:
            install(standing, given.environments.resolve())
            tell("installed", standing)
        for number, standing in turns(standings, given.rounds):
            try:
                standing.turns.append(take_turn(standing, setting, seed=number + 1))
            except ServerError as error:
                standing.failure = str(error)
            tell(f"round {number + 1}", standing)
    except KeyboardInterrupt:
        console.print("Interrupted.")
        return standings, False
    return standings, True


def facts_of(given: argparse.Namespace, setting: Setting) -> dict[str, Any]:
    """Return when, where and how it is measured."""
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


def line(standing: Standing) -> str:
    """Return what is known of a contender since its latest step."""
    if standing.failure:
        return f"{standing.contender.name} failed: {standing.failure}"
    found = figures(standing.turns[-1]) if standing.turns else {}
    known = [f"{heading} {found[name]:,.1f}" for name, heading in HEADINGS.items() if name in found]
    return f"{standing.contender.name}: {', '.join(known) or standing.contender.remark}"


def main(words: Sequence[str]) -> int:
    """Run a contest; 1 where a contender failed, 130 where the user ended it."""
    given = parse(words)
    # Whichever way it is stopped, its server stops with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A table is kept whole where it is written to a file.
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
