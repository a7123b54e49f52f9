"""The knee: the highest rate that a service still answers as fast as it is asked."""

from collections.abc import Callable, Iterator

from app.bench.summary import Summary

KEPT = 0.95
"""Share of the offered requests that has to be answered in time with them."""

CLOSE = 1.1
"""The knee is known once a rate that holds and one that does not are this close."""

MOST_STEPS = 20


def holds(step: Summary, p99_ms: float) -> bool:
    """Tell whether a service kept up: with at least `KEPT` of the rate, and within the bound."""
    # Of a load too short for a single request nothing is known.
    return (
        bool(step.latency_ms)
        and step.achieved >= KEPT * step.offered
        and step.latency_ms["p99"] <= p99_ms
    )


def sweep(
    measure: Callable[[float], Summary | None], start: float, most: float, p99_ms: float
) -> Iterator[Summary]:
    """Double the rate until it does not hold (halve it where the first does not), then close in.

    Args:
        measure: measures at a rate; None ends the sweep.
        start: the first rate, requests a second.
        most: the highest rate.
        p99_ms: the bound of the 99th percentile.

    Yields:
        Each step, as it is measured: at most `MOST_STEPS`.
    """
    low, high, rate = 0.0, float("inf"), start
    for _ in range(MOST_STEPS):
        step = measure(rate)
        if step is None:
            return
        yield step
        if holds(step, p99_ms):
            low = max(low, rate)
        else:
            high = min(high, rate)
        if low >= most or (low and high / low <= CLOSE):
            return
        if not low:
            rate = high / 2
        elif high == float("inf"):
            rate = min(low * 2, most)
        else:
            rate = (low * high) ** 0.5


def knee(steps: list[Summary], p99_ms: float) -> Summary | None:
    """Return the highest rate's step that held below every one that did not; None if none did."""
    failed = [step.rate or 0.0 for step in steps if not holds(step, p99_ms)]
    limit = min(failed, default=float("inf"))
    held = [step for step in steps if holds(step, p99_ms) and (step.rate or 0.0) < limit]
    return max(held, key=lambda step: step.rate or 0.0, default=None)
