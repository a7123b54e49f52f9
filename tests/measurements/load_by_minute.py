"""Figures of a long load by minute, and the slope of the server's memory."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import psutil
from prometheus_client.parser import text_string_to_metric_families

TIMES = ("p50_ms", "p95_ms", "p99_ms")
COLUMNS = ("minute", "RSS MB", "p50 ms", "p95 ms", "p99 ms", "queue", "at most")
HEADER = "".join(f"{name:>9}" for name in COLUMNS) + "  outcomes"


@dataclass
class Minute:
    """Samples of one minute; latencies in seconds, of requests answered with 200."""

    latencies: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    queued: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def row(self) -> dict[str, object]:
        """Return the figures in milliseconds, MiB and ads; None without samples."""
        times = np.percentile(self.latencies, [50, 95, 99]) * 1000 if self.latencies else [None] * 3
        return {
            "rss_mb": rounded(np.median(self.memory) if self.memory else None),
            **{name: rounded(at) for name, at in zip(TIMES, times, strict=True)},
            "queued_mean": rounded(np.mean(self.queued) if self.queued else None),
            "queued_max": max(self.queued, default=None),
            "outcomes": dict(self.outcomes.most_common()),
        }

    def line(self, number: int) -> str:
        """Return the minute's row of the printed table."""
        *figures, outcomes = self.row().values()
        columns = [number, *("-" if one is None else one for one in figures)]
        seen = "  ".join(f"{name}: {count}" for name, count in outcomes.items())
        return "".join(f"{one:>9}" for one in columns) + "  " + seen


def rounded(figure: float | None) -> float | None:
    """Round to one decimal."""
    return None if figure is None else round(float(figure), 1)


def resident(server: psutil.Process) -> float:
    """Return the resident memory of a process and its children in MiB."""
    family = [server, *server.children(recursive=True)]
    return float(sum(process.memory_info().rss for process in family)) / 2**20


def value(page: str, name: str) -> float:
    """Return the sum of a metric's samples in a text of the Prometheus format."""
    families = text_string_to_metric_families(page)
    return sum(one.value for family in families for one in family.samples if one.name == name)


def slope(memory: Sequence[tuple[float, float]], warm_up_hours: float) -> float:
    """Return the slope by least squares in MiB an hour, without the warm-up.

    Args:
        memory: pairs of hours and MiB.
        warm_up_hours: earlier pairs are left out.
    """
    hours, megabytes = zip(*[one for one in memory if one[0] >= warm_up_hours], strict=True)
    return float(np.polyfit(hours, megabytes, 1)[0])
