"""Summarizes the samples of a load as rates, latency percentiles and counts."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.bench.http_client import LOST
from app.bench.load_generator import HELD_BACK, MAX_IN_FLIGHT, UNANSWERED, LoadPlan, RequestSamples

PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}

FAILURES = {LOST: "lost", UNANSWERED: "unanswered", HELD_BACK: "held back"}
"""Names of the statuses of requests without an answer."""

LATE_MS = 20.0
"""If the p99 of the generator's own delay is above this, the latencies are not the service's."""


@dataclass(frozen=True)
class LoadSummary:
    """The figures of one load; its field names are keys of the JSON document.

    Rates are per second, `*_ms` are milliseconds. `offered`, `statuses`, `failures` and
    `lateness_ms` are of the requests that were due in the measured `seconds`, and `latency_ms` is
    of those among them that were answered with 200. `achieved`, `ads` and `tokens` count the
    answers with 200 that arrived in these seconds.
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
        """How many requests the service refused with 429."""
        return self.statuses.get(429, 0)

    def warnings(self) -> Iterator[str]:
        """Yield a sentence for each way in which the generator itself limited the figures."""
        if self.lateness_ms.get("p99", 0.0) > LATE_MS:
            yield (
                f"The generator was late itself, by {self.lateness_ms['p99']:.0f} ms at the 99th "
                "percentile, and the latencies include that: use more --processes, or another "
                "machine than the service's."
            )
        if held := self.failures.get("held back"):
            yield (
                f"{held} requests were not sent, since {MAX_IN_FLIGHT} of a process were waiting "
                "for answers."
            )


def percentiles(values: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return the `PERCENTILES` of some values, interpolated linearly; none of an empty array."""
    if not len(values):
        return {}
    found = np.percentile(values, list(PERCENTILES.values()))
    return dict(zip(PERCENTILES, map(float, found), strict=True))


def summarize(samples: RequestSamples, plan: LoadPlan, sent: float) -> LoadSummary:
    """Summarize the requests after the warm-up.

    Args:
        samples: of all requests.
        plan: what was to be sent.
        sent: for how many seconds requests were sent, warm-up included; fewer than planned if the
            load was stopped.
    """
    seconds = max(sent - plan.warm_up, 0.0)
    due = samples["intended"] >= plan.warm_up
    ended = samples["intended"] + samples["seconds"]
    answered = samples["status"] == 200
    done = samples[answered & (ended >= plan.warm_up) & (ended < sent)]
    measured = samples[due]

    def per_second(count: float) -> float:
        return float(count) / seconds if seconds else 0.0

    statuses, failures = _outcomes(measured)
    return LoadSummary(
        rate=plan.rate,
        connections=plan.connections if plan.rate is None else None,
        seconds=seconds,
        offered=per_second(len(measured)),
        achieved=per_second(len(done)),
        ads=per_second(done["ads"].sum()),
        tokens=per_second(done["tokens"].sum()),
        latency_ms=percentiles(samples["seconds"][due & answered] * 1000),
        lateness_ms=percentiles(measured["late"] * 1000),
        statuses=statuses,
        failures=failures,
        warm_up_statuses=_outcomes(samples[~due])[0],
    )


def _outcomes(samples: RequestSamples) -> tuple[dict[int, int], dict[str, int]]:
    """Count answers by status, and requests without an answer by the name of their failure."""
    counts = Counter(samples["status"].tolist())
    statuses = {status: counts[status] for status in sorted(counts) if status not in FAILURES}
    return statuses, {name: counts[one] for one, name in FAILURES.items() if counts[one]}
