"""Plots the rates and latencies of loads over the offered rate. Needs matplotlib."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from app.bench.summary import PERCENTILES, LoadSummary

DOTS_PER_INCH = 110


def plot_loads(steps: Sequence[LoadSummary], path: Path, knee: float | None = None) -> None:
    """Write a PNG with two plots over the offered rate: achieved rate and latency percentiles.

    Args:
        steps: one load, or those of a sweep; loads without any answer are left out.
        path: the file to write.
        knee: the rate of the knee to mark, requests per second.
    """
    ordered = sorted((step for step in steps if step.latency_ms), key=lambda step: step.offered)
    offered = [step.offered for step in ordered]
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    rates, times = figure.subplots(1, 2)
    rates.plot(offered, offered, color="0.6", linestyle=":", label="offered")
    rates.plot(offered, [step.achieved for step in ordered], "o-", label="achieved")
    rates.set(xlabel="offered, requests/s", ylabel="requests/s", title="Rate")
    for name in PERCENTILES:
        times.plot(offered, [step.latency_ms[name] for step in ordered], "o-", label=name)
    times.set(xlabel="offered, requests/s", ylabel="ms", yscale="log", title="Latency")
    for axes in (rates, times):
        if knee is not None:
            axes.axvline(knee, color="tab:red", linewidth=1, label="knee")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, format="png", dpi=DOTS_PER_INCH)
