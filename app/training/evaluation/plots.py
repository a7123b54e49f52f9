"""Plots of an evaluation as PNG: confusion matrices and reliability diagrams."""

import io
import warnings

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from app.training.evaluation.calibration import BINS, reliability_bins
from app.training.evaluation.head_metrics import HeadMetrics

DOTS_PER_INCH = 110
MAX_NUMBERED_LABELS = 40
"""A matrix of more labels is drawn without numbers, which would be too small to read."""


def confusion_png(metrics: HeadMetrics, title: str) -> bytes:
    """Draw a confusion matrix with counts, shaded by their share of the true label's rows."""
    counts = metrics.confusion()
    labels = metrics.head.labels
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.5 + 0.32 * max(len(labels), 6)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    # Labels are user text: a dollar sign does not start a formula.
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8, parse_math=False)
    axes.set_yticks(range(len(labels)), labels, fontsize=8, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    if len(labels) <= MAX_NUMBERED_LABELS:
        for row, column in np.argwhere(counts).tolist():
            axes.text(
                column,
                row,
                str(counts[row, column]),
                ha="center",
                va="center",
                fontsize=7,
                color="white" if shares[row, column] > 0.5 else "black",
            )
    return _png(figure)


def reliability_png(metrics: HeadMetrics, title: str) -> bytes:
    """Draw accuracy against confidence in ten bins, before and after temperature scaling."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="perfectly calibrated")
    for name, values, marker in (
        ("before temperature", metrics.before, "o--"),
        ("after temperature", metrics.after, "s-"),
    ):
        filled = [
            (confidence, accuracy)
            for count, confidence, accuracy in reliability_bins(values, metrics.targets)
            if count
        ]
        axes.plot([x for x, _ in filled], [y for _, y in filled], marker, label=name)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy", title=title)
    axes.set_xticks(np.linspace(0, 1, BINS + 1))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with rc_context({"text.parse_math": False}), warnings.catch_warnings():
        # Characters that the font lacks are drawn as boxes; matplotlib warns about each of them.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return buffer.getvalue()
