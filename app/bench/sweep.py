"""One load, or a sweep of loads that finds the knee: the highest rate a service keeps up with."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from app.bench.load_generator import MAX_SAMPLES, LoadPlan
from app.bench.sender_processes import SenderPool
from app.bench.summary import LoadSummary, summarize
from app.core.errors import StartupError

MIN_ANSWERED = 0.95
"""Share of the offered rate that has to be answered with 200 at the same time."""

RESOLUTION = 1.1
"""A sweep ends when a rate that the service keeps up with and one that it does not are this close,
as a ratio."""

MAX_STEPS = 20
"""Maximum loads of a sweep."""

FIRST_RATE = 5.0
"""Requests per second of a sweep's first load, unless the plan has a rate."""

MAX_RATE = 100_000.0


def check_plan(plan: LoadPlan, processes: int, *, sweeping: bool) -> None:
    """Check that the plan is either an open or a closed loop, and fits the processes' memory.

    Raises:
        StartupError: the plan is neither or both, or does not fit.
    """
    if sweeping and plan.connections:
        raise StartupError("--sweep is an open loop and takes no --connections.")
    if not sweeping and (plan.rate is None) == (plan.connections == 0):
        raise StartupError("Say how to load it: --rate, --connections or --sweep, one of them.")
    if plan.rate is not None and plan.rate > highest_rate(plan, processes):
        raise StartupError(
            f"{plan.rate:g} requests/s for {plan.end:g} s are more than {MAX_SAMPLES:,} a process: "
            "lower --rate or --duration, or add --processes."
        )
    if plan.rate is None and not sweeping and plan.connections < processes:
        raise StartupError("--processes may not be more than --connections.")


def highest_rate(plan: LoadPlan, processes: int) -> float:
    """Return the highest rate, in requests per second, whose samples fit the processes' memory."""
    # 10 % are left free: arrivals are random, and may be more than expected.
    return min(MAX_RATE, 0.9 * processes * MAX_SAMPLES / plan.end)


def run_once(plan: LoadPlan, workers: SenderPool) -> LoadSummary:
    """Send a plan and summarize it; Ctrl-C ends it early."""
    samples, sent = workers.run(plan)
    return summarize(samples, plan, sent)


def run_sweep(
    plan: LoadPlan, workers: SenderPool, max_rate: float, p99_ms: float
) -> list[LoadSummary]:
    """Send the plan at the rates of `search_knee`; a load that Ctrl-C ends is left out.

    Args:
        plan: what to send; its rate is the first one.
        workers: the processes that send it.
        max_rate: the highest rate, requests per second.
        p99_ms: bound of the 99th percentile, milliseconds.
    """

    def measure(rate: float) -> LoadSummary | None:
        summary = run_once(replace(plan, rate=rate), workers)
        return None if workers.interrupt.wanted() else summary

    return list(search_knee(measure, plan.rate or FIRST_RATE, max_rate, p99_ms))


def search_knee(
    measure: Callable[[float], LoadSummary | None], start: float, max_rate: float, p99_ms: float
) -> Iterator[LoadSummary]:
    """Measure at doubled rates until the service fails to keep up, then narrow the knee down.

    If it fails at the first rate, rates are halved until it keeps up. Between a rate it keeps up
    with and one it does not, the next rate is their geometric mean.

    Args:
        measure: measures at a rate; None ends the search.
        start: the first rate, requests per second.
        max_rate: the highest rate, requests per second.
        p99_ms: bound of the 99th percentile, milliseconds.

    Yields:
        The summary of each load when it is measured, at most `MAX_STEPS`.
    """
    low, high, rate = 0.0, float("inf"), start
    for _ in range(MAX_STEPS):
        step = measure(rate)
        if step is None:
            return
        yield step
        if keeps_up(step, p99_ms):
            low = max(low, rate)
        else:
            high = min(high, rate)
        if low >= max_rate or (low and high / low <= RESOLUTION):
            return
        if not low:
            rate = high / 2
        elif high == float("inf"):
            rate = min(low * 2, max_rate)
        else:
            rate = (low * high) ** 0.5


def keeps_up(step: LoadSummary, p99_ms: float) -> bool:
    """Return whether `MIN_ANSWERED` of a load was answered, and its p99 is within the bound."""
    # A load too short for a single answer proves nothing.
    return (
        bool(step.latency_ms)
        and step.achieved >= MIN_ANSWERED * step.offered
        and step.latency_ms["p99"] <= p99_ms
    )


def knee(steps: Sequence[LoadSummary], p99_ms: float) -> LoadSummary | None:
    """Return the load of the highest rate that the service kept up with, or None.

    Rates above one that it failed at do not count.
    """
    failed = [step.rate or 0.0 for step in steps if not keeps_up(step, p99_ms)]
    limit = min(failed, default=float("inf"))
    good = [step for step in steps if keeps_up(step, p99_ms) and (step.rate or 0.0) < limit]
    return max(good, key=lambda step: step.rate or 0.0, default=None)
