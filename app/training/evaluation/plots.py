"""The pictures of an evaluation: confusion matrices and reliability plots, as PNG."""

import io
import warnings

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from app.training.evaluation.head_metrics import BINS, HeadMetrics, reliability

DOTS_PER_INCH = 110
MOST_NUMBERS = 40
"""A matrix of more labels than this is drawn without numbers: they would not be legible."""


def confusion_png(quality: HeadMetrics, title: str) -> bytes:
    """Draw a confusion matrix: shaded by the share of a true label's rows, with their counts."""
    counts = quality.confusion()
    labels = quality.head.labels
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.5 + 0.32 * max(len(labels), 6)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    # Labels are the users' text: a dollar sign in one is no formula.
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8, parse_math=False)
    axes.set_yticks(range(len(labels)), labels, fontsize=8, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    if len(labels) <= MOST_NUMBERS:
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


def reliability_png(quality: HeadMetrics, title: str) -> bytes:
    """Draw confidence against accuracy in ten bins, before and after temperature."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="perfectly calibrated")
    for name, values, marker in (
        ("before temperature", quality.before, "o--"),
        ("after temperature", quality.after, "s-"),
    ):
        filled = [
            (confidence, accuracy)
            for count, confidence, accuracy in reliability(values, quality.targets)
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
        # A label in a script that the font lacks is drawn as boxes, and said nothing about.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return buffer.getvalue()
