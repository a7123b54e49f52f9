"""What a load measured, as figures."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.bench.http_client import LOST
from app.bench.load_generator import HELD_BACK, MOST_IN_FLIGHT, UNANSWERED, Plan, Shots

PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}

FAILURES = {LOST: "lost", UNANSWERED: "unanswered", HELD_BACK: "held back"}
"""Names of requests without an answer: the connection ended, nobody waited any longer, too many
others were waiting."""

LATE_MS = 20.0
"""A generator whose 99th percentile is later than this measures itself."""


@dataclass(frozen=True)
class Summary:
    """One load's figures. Rates are a second, `*_ms` in milliseconds.

    `offered`, `statuses`, `failures`, `latency_ms` and `lateness_ms` are of the requests meant to
    be sent in the measured seconds; `achieved`, `ads` and `tokens` count the answers with status
    200 that arrived in them. `latency_ms` is of the requests that were answered with 200.
    """

    rate: float | None
    connections: int | None
    seconds: float
    offered: float
    achieved: float
    ads: float
    tokens: float
    latency_ms: Mapping[str, float]
    lateness_ms: Mapping[str, float]
    statuses: Mapping[int, int]
    failures: Mapping[str, int]
    warm_up_statuses: Mapping[int, int]

    @property
    def rejected(self) -> int:
        """Requests that the service refused with 429."""
        return self.statuses.get(429, 0)

    def warnings(self) -> Iterator[str]:
        """Say where the generator, and not the service, made the figures."""
        if self.lateness_ms.get("p99", 0.0) > LATE_MS:
            yield (
                f"The generator was late itself, by {self.lateness_ms['p99']:.0f} ms at the 99th "
                "percentile, and the latencies include that: use more --processes, or another "
                "machine than the service's."
            )
        if held := self.failures.get("held back"):
            yield (
                f"{held} requests were not sent, since {MOST_IN_FLIGHT} of a process were waiting "
                "for answers."
            )


def percentiles(values: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return `PERCENTILES` of a sample, interpolated linearly; nothing of an empty one."""
    if not len(values):
        return {}
    found = np.percentile(values, list(PERCENTILES.values()))
    return dict(zip(PERCENTILES, map(float, found), strict=True))


def summarize(shots: Shots, plan: Plan, sent: float) -> Summary:
    """Count what happened after the warm-up.

    Args:
        shots: the requests.
        plan: what was to be sent.
        sent: for how many seconds it was, warm-up included; fewer where the user ended it.
    """
    seconds = max(sent - plan.warm_up, 0.0)
    meant = shots["intended"] >= plan.warm_up
    ended = shots["intended"] + shots["seconds"]
    answered = shots["status"] == 200
    done = shots[answered & (ended >= plan.warm_up) & (ended < sent)]
    measured = shots[meant]

    def a_second(count: float) -> float:
        return float(count) / seconds if seconds else 0.0

    statuses, failures = _outcomes(measured)
    return Summary(
        rate=plan.rate,
        connections=plan.connections if plan.rate is None else None,
        seconds=seconds,
        offered=a_second(len(measured)),
        achieved=a_second(len(done)),
        ads=a_second(done["ads"].sum()),
        tokens=a_second(done["tokens"].sum()),
        latency_ms=percentiles(shots["seconds"][meant & answered] * 1000),
        lateness_ms=percentiles(measured["late"] * 1000),
        statuses=statuses,
        failures=failures,
        warm_up_statuses=_outcomes(shots[~meant])[0],
    )


def _outcomes(shots: Shots) -> tuple[dict[int, int], dict[str, int]]:
    """Count answers by status, and what stands for none by its name."""
    counts = Counter(shots["status"].tolist())
    statuses = {status: counts[status] for status in sorted(counts) if status not in FAILURES}
    return statuses, {name: counts[one] for one, name in FAILURES.items() if counts[one]}
