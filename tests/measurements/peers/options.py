"""The command line of a comparison."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tests.measurements.peers.contender import Contender
from tests.measurements.peers.contenders import OWN, PEERS, own


def chosen(only: Sequence[str], variants: Sequence[str]) -> list[Contender]:
    """Return the contenders: our server with its defaults, its variants, and the peers.

    Args:
        only: names of contenders; empty for all.
        variants: settings of our server.

    Raises:
        ValueError: a name is unknown.
    """
    contenders = [own(), *(own(settings) for settings in variants), *PEERS]
    names = [one.name for one in contenders]
    if unknown := [name for name in only if name not in names]:
        raise ValueError(f"there is no {unknown[0]}, only {', '.join(names)}")
    return [one for one in contenders if not only or one.name in only]


def described(words: Sequence[str]) -> str:
    """Return the command, with paths shortened to their last part."""
    shown = [Path(word).name if "/" in word else word for word in words]
    return " ".join(["python -m tests.measurements.peers.compare", *shown])


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    options = argparse.ArgumentParser(description="Measure Doppelkopf and its peers in turns.")
    options.add_argument("--ads", type=Path, required=True, help="JSON lines with text and title")
    options.add_argument("--environments", type=Path, required=True, help="folder to install into")
    options.add_argument("--model", type=Path, default=Path("model_store/demo"))
    options.add_argument("--out", type=Path, help="a JSON file for the figures")
    options.add_argument("--only", nargs="+", default=[], metavar="NAME", help="of the contenders")
    options.add_argument(
        "--own", nargs="+", default=[], metavar="NAME=VALUE[,...]",
        help=f"settings of further contenders, {OWN}:dtype=bfloat16 and so on",
    )  # fmt: skip
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--seconds", type=float, default=6.0, help="of each closed loop")
    options.add_argument("--storm", type=float, default=12.0, help="seconds of overload")
    given = options.parse_args(words)
    try:
        given.contenders = chosen(given.only, given.own)
    except ValueError as error:
        options.error(str(error))
    if given.out and not given.out.parent.is_dir():
        options.error(f"there is no folder {given.out.parent} to write to")
    return given
