"""A load, or the loads of a sweep, from plan to figures."""

from dataclasses import replace

from app.bench.load_generator import MOST_SHOTS, Plan
from app.bench.sender_processes import Workers
from app.bench.summary import Summary, summarize
from app.bench.sweep import sweep
from app.core.errors import StartupError

FIRST_RATE = 5.0
"""Requests a second of a sweep's first step, where nobody says otherwise."""

MOST_RATE = 100_000.0


def check(plan: Plan, processes: int, *, sweeping: bool) -> None:
    """See that a plan says one thing, and no more than the processes can keep in memory.

    Raises:
        StartupError: it does not.
    """
    if sweeping and plan.connections:
        raise StartupError("--sweep is an open loop and takes no --connections.")
    if not sweeping and (plan.rate is None) == (plan.connections == 0):
        raise StartupError("Say how to load it: --rate, --connections or --sweep, one of them.")
    if plan.rate is not None and plan.rate > most_rate(plan, processes):
        raise StartupError(
            f"{plan.rate:g} requests/s for {plan.end:g} s are more than {MOST_SHOTS:,} a process: "
            "lower --rate or --duration, or add --processes."
        )
    if plan.rate is None and not sweeping and plan.connections < processes:
        raise StartupError("--processes may not be more than --connections.")


def most_rate(plan: Plan, processes: int) -> float:
    """Return the requests a second that so many processes can keep in memory."""
    # Arrivals are random: some more than expected may come.
    return min(MOST_RATE, 0.9 * processes * MOST_SHOTS / plan.end)


def run_once(plan: Plan, workers: Workers) -> Summary:
    """Send a plan; Ctrl-C ends it early."""
    shots, sent = workers.run(plan)
    return summarize(shots, plan, sent)


def run_sweep(plan: Plan, workers: Workers, most: float, p99_ms: float) -> list[Summary]:
    """Search the knee from the plan's rate on, up to `most`; Ctrl-C leaves its step out."""

    def measure(rate: float) -> Summary | None:
        summary = run_once(replace(plan, rate=rate), workers)
        return None if workers.interrupt.wanted() else summary

    return list(sweep(measure, plan.rate or FIRST_RATE, most, p99_ms))
