"""Measures one round of one contender."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.head_labels import HEADS
from app.core.types import Ad
from app.model.checkpoint import Checkpoint
from tests.measurements.peers.ad_requests import AdRequests, ad_requests
from tests.measurements.peers.export import TWO_HEADS
from tests.measurements.peers.load_phases import (
    OVERLOAD,
    check_labels,
    run_closed_loop,
    run_overload,
    wait_for_answer,
)
from tests.measurements.peers.peer_server import PeerServer, ServerError
from tests.measurements.peers.results import CONNECTIONS, ContenderResults, RoundFigures
from tests.support.server_process import free_port

START_SECONDS = 180.0
SHORT_AD = Ad("Koch für die Küche")


@dataclass(frozen=True)
class ComparisonSetup:
    """What all contenders share: the checkpoint, the ads, and durations in seconds."""

    checkpoint: Checkpoint
    ads: Sequence[Ad]
    clear: Sequence[tuple[Ad, Mapping[str, str]]]
    separator: str
    scratch: Path
    seconds: float
    storm_seconds: float

    def substitutes(self, python: Path, port: int) -> dict[str, object]:
        """Return the values of the placeholders in a contender's command and variables."""
        return {
            "python": python,
            "scripts": python.parent,
            "port": port,
            "threads": len(os.sched_getaffinity(0)),
            "scratch": self.scratch,
            "model": self.checkpoint.path,
            **{name: self.scratch / name for name in (TWO_HEADS, *HEADS)},
        }


def measure_round(standing: ContenderResults, setting: ComparisonSetup, seed: int) -> RoundFigures:
    """Start a contender, measure it and stop it.

    The first round also checks its answers.

    Raises:
        ServerError: it does not start, ends early or answers with wrong labels.
    """
    contender = standing.contender
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    names = setting.substitutes(standing.python, port)
    command = [word.format(**names) for word in contender.command]
    variables = {name: value.format(**names) for name, value in contender.variables.items()}

    def requests_for(ads: Sequence[Ad]) -> AdRequests:
        return ad_requests(contender, address, ads, setting.separator)

    short_ad, all_ads = requests_for([SHORT_AD]), requests_for(setting.ads)
    with PeerServer(command, variables, setting.scratch / f"{contender.environment}.log") as server:
        ready = wait_for_answer(address, short_ad, START_SECONDS, server.require_alive)
        if ready is None:
            raise ServerError(f"It is not ready after {START_SECONDS:g} s: {server.last_line()}")
        turn = RoundFigures(ready - server.begin, server.processes.resident_mb())
        if not standing.turns:
            ads, labels = zip(*setting.clear, strict=True)
            check_labels(address, requests_for(ads), labels)
        for connections in CONNECTIONS:
            # Connections above the limit would only be refused.
            if contender.limit is None or connections <= contender.limit:
                turn.closed[connections] = run_closed_loop(
                    address, all_ads, connections, setting.seconds, seed
                )
        turn.storm = run_overload(
            address, all_ads, short_ad, OVERLOAD * turn.capacity, setting.storm_seconds, seed
        )
        server.require_alive()
    turn.peak_mb = server.processes.peak_mb
    return turn
