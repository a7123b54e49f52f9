"""A contender's turn: started, checked, measured, stopped."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.head_labels import HEADS
from app.core.types import Ad
from app.model.checkpoint import Checkpoint
from tests.measurements.peers.asking import Questions, questions
from tests.measurements.peers.export import TWO_HEADS
from tests.measurements.peers.measuring import (
    OVERLOAD,
    check_answers,
    closed_loop,
    first_answer,
    storm,
)
from tests.measurements.peers.serving import Server, ServerError
from tests.measurements.peers.standing import CONNECTIONS, Standing, Turn
from tests.support.server_process import free_port

START_SECONDS = 180.0
GREETING = Ad("Koch für die Küche")


@dataclass(frozen=True)
class Setting:
    """What all contenders have in common: the checkpoint, the ads, the durations in seconds."""

    checkpoint: Checkpoint
    ads: Sequence[Ad]
    clear: Sequence[tuple[Ad, Mapping[str, str]]]
    separator: str
    scratch: Path
    seconds: float
    storm_seconds: float

    def substitutes(self, python: Path, port: int) -> dict[str, object]:
        """Return what stands for the names in a contender's command and variables."""
        return {
            "python": python,
            "scripts": python.parent,
            "port": port,
            "threads": len(os.sched_getaffinity(0)),
            "scratch": self.scratch,
            "model": self.checkpoint.path,
            **{name: self.scratch / name for name in (TWO_HEADS, *HEADS)},
        }


def take_turn(standing: Standing, setting: Setting, seed: int) -> Turn:
    """Start a contender, measure it, stop it.

    Raises:
        ServerError: it does not start, or does not do what it should; says what.
    """
    contender = standing.contender
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    names = setting.substitutes(standing.python, port)
    command = [word.format(**names) for word in contender.command]
    variables = {name: value.format(**names) for name, value in contender.variables.items()}

    def asked(ads: Sequence[Ad]) -> Questions:
        return questions(contender, address, ads, setting.separator)

    greeting, everything = asked([GREETING]), asked(setting.ads)
    with Server(command, variables, setting.scratch / f"{contender.environment}.log") as server:
        ready = first_answer(address, greeting, START_SECONDS, server.require_alive)
        if ready is None:
            raise ServerError(f"It is not ready after {START_SECONDS:g} s: {server.last_words()}")
        turn = Turn(ready - server.begin, server.family.resident_mb())
        if not standing.turns:
            ads, labels = zip(*setting.clear, strict=True)
            check_answers(address, asked(ads), labels)
        for connections in CONNECTIONS:
            # More than the limit would be refused, and measure nothing but that.
            if contender.limit is None or connections <= contender.limit:
                turn.closed[connections] = closed_loop(
                    address, everything, connections, setting.seconds, seed
                )
        turn.storm = storm(
            address, everything, greeting, OVERLOAD * turn.capacity, setting.storm_seconds, seed
        )
        server.require_alive()
    turn.peak_mb = server.family.peak_mb
    return turn
