"""The figures of a contender by round, and their medians."""

import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.measurements.peers.contender import Contender
from tests.measurements.peers.contenders import OWN

CONNECTIONS = (1, 8, 32)
"""The numbers of connections of the closed loops."""

RATES = tuple(f"ads_per_second_{count}" for count in CONNECTIONS)

HEADINGS = {
    **{f"ads_per_second_{count}": f"ads/s at {count}" for count in CONNECTIONS},
    "p50_ms_1": "p50 ms at 1",
    "useful_per_second": "useful/s at 3x",
    "next_ad_seconds": "next ad s",
    "start_seconds": "start s",
    "rest_mb": "rest MB",
    "peak_mb": "peak MB",
}
"""The figures of a contender, in the order of the table."""

MORE_IS_BETTER = (*RATES, "useful_per_second")


@dataclass(frozen=True)
class ClosedLoopFigures:
    """Figures of a closed loop."""

    ads_per_second: float
    p50_ms: float
    outcomes: Mapping[str, int]


@dataclass(frozen=True)
class OverloadFigures:
    """Figures of an overload: ads offered and useful answers a second, and outcomes of all ads.

    `next_ad_seconds` is the time until one short ad is answered after the overload, with retries
    when it is refused; None if that took too long.
    """

    offered: float
    useful: float
    outcomes: Mapping[str, int]
    next_ad_seconds: float | None


@dataclass
class RoundFigures:
    """A contender's figures of one round, memory in MiB."""

    start_seconds: float
    rest_mb: float
    closed: dict[int, ClosedLoopFigures] = field(default_factory=dict)
    storm: OverloadFigures | None = None
    peak_mb: float = 0.0

    @property
    def capacity(self) -> float:
        """The highest rate of the closed loops, in ads a second."""
        return max(one.ads_per_second for one in self.closed.values())


@dataclass
class ContenderResults:
    """A contender and its rounds so far; `failure` says why it is no longer measured."""

    contender: Contender
    turns: list[RoundFigures] = field(default_factory=list)
    failure: str | None = None
    python: Path = Path(sys.executable)
    """The interpreter of its environment."""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def own(self) -> bool:
        """Whether it is our own server, with any settings."""
        return self.contender.name.partition(":")[0] == OWN

    def medians(self) -> dict[str, float]:
        """Return the medians over the rounds, by the names of `HEADINGS`."""
        found: dict[str, list[float]] = {name: [] for name in HEADINGS}
        for turn in self.turns:
            for name, value in figures(turn).items():
                found[name].append(value)
        return {name: statistics.median(values) for name, values in found.items() if values}


def figures(turn: RoundFigures) -> dict[str, float]:
    """Return the available figures of a round by the names of `HEADINGS`."""
    found = {f"ads_per_second_{count}": one.ads_per_second for count, one in turn.closed.items()}
    if 1 in turn.closed:
        found["p50_ms_1"] = turn.closed[1].p50_ms
    if turn.storm:
        found["useful_per_second"] = turn.storm.useful
        if turn.storm.next_ad_seconds is not None:
            found["next_ad_seconds"] = turn.storm.next_ad_seconds
    return found | {
        "start_seconds": turn.start_seconds, "rest_mb": turn.rest_mb, "peak_mb": turn.peak_mb,
    }  # fmt: skip
