"""Tables of a measurement for the terminal, and its figures as a JSON document."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table

from app.bench.summary import LoadSummary
from app.bench.sweep import MIN_ANSWERED, knee

if TYPE_CHECKING:
    from app.bench.engine_bench import EngineReport


def show_load(summary: LoadSummary) -> Iterator[RenderableType]:
    """Yield what to print of one load: its table and warnings."""
    table = Table("figure", "value")
    table.columns[1].justify = "right"
    for name, value in (
        ("offered", f"{summary.offered:,.1f} requests/s"),
        ("achieved", f"{summary.achieved:,.1f} requests/s"),
        ("ads", f"{summary.ads:,.1f} ads/s"),
        ("tokens", f"{summary.tokens:,.0f} tokens/s"),
        *((name, f"{summary.latency_ms[name]:,.1f} ms") for name in summary.latency_ms),
        ("rejected (429)", f"{summary.rejected:,}"),
        ("statuses", _counts(summary.statuses)),
        ("errors", _counts(summary.failures)),
        ("generator late, p99", _milliseconds(summary.lateness_ms, "p99")),
        ("generator late, max", _milliseconds(summary.lateness_ms, "max")),
    ):
        table.add_row(name, value)
    mode = (
        f"open loop, {summary.rate:g} requests/s"
        if summary.rate is not None
        else f"closed loop, {summary.connections} connections"
    )
    yield f"{mode}, {summary.seconds:.1f} s measured"
    yield table
    yield from summary.warnings()


def show_steps(steps: Sequence[LoadSummary], p99_ms: float) -> Iterator[RenderableType]:
    """Yield what to print of a sweep: a table of its loads by rate, the knee, and warnings."""
    names = ("offered/s", "achieved/s", "ads/s", "tokens/s", "p50 ms", "p99 ms", "429", "errors")
    table = Table(*names)
    for column in table.columns:
        column.justify = "right"
    for step in sorted(steps, key=lambda step: step.rate or 0.0):
        table.add_row(
            f"{step.offered:,.1f}",
            f"{step.achieved:,.1f}",
            f"{step.ads:,.1f}",
            f"{step.tokens:,.0f}",
            *(f"{step.latency_ms[one]:,.1f}" if step.latency_ms else "-" for one in ("p50", "p99")),
            f"{step.rejected:,}",
            f"{sum(step.failures.values()):,}",
        )
    yield table
    found = knee(steps, p99_ms)
    bounds = f"at least {MIN_ANSWERED:.0%} answered in time, p99 at most {p99_ms:g} ms"
    if found is None:
        yield f"No knee: no rate held ({bounds})."
    else:
        yield (
            f"The knee is at {found.rate:.4g} requests/s: {found.ads:,.1f} ads/s, "
            f"{found.tokens:,.0f} tokens/s, p99 {found.latency_ms['p99']:,.1f} ms ({bounds})."
        )
    yield from dict.fromkeys(one for step in steps for one in step.warnings())


def show_engine(report: "EngineReport") -> Iterator[RenderableType]:
    """Yield what to print of the measurement of an engine."""
    shape = report.shape
    yield (
        f"{shape.layers} layers, {shape.hidden} wide, {shape.intermediate} inside; "
        f"{report.dtype} on {report.device}, {report.threads} threads; "
        f"{report.ads} ads a round, {len(report.matmul)} rounds"
    )
    if not report.matmul:
        yield "No round was finished."
        return
    table = Table("batch", "ads/s", "tokens/s", "GFLOP/s", "of matmul")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in report.rows():
        table.add_row(
            str(row["name"]),
            f"{row['ads']:,.1f}",
            f"{row['tokens']:,.0f}",
            f"{row['gflops']:,.1f}",
            f"{row['share']:.0%}",
        )
    # int8 is compared with float32, so that what it saves shows as a share above 100 %.
    matmul = "float32 matmul alone" if report.dtype == "int8" else "matmul alone"
    table.add_row(matmul, "", "", f"{statistics.median(report.matmul):,.1f}", "100%")
    yield table


def load_document(steps: Sequence[LoadSummary], url: str, p99_ms: float | None) -> dict[str, Any]:
    """Return the JSON document of one load, or with a bound on p99 that of a sweep."""
    document = {**provenance(), "url": url, "loads": [asdict(step) for step in steps]}
    if p99_ms is not None:
        found = knee(steps, p99_ms)
        document |= {"p99_bound_ms": p99_ms, "knee": None if found is None else found.rate}
    return document


def engine_document(report: "EngineReport") -> dict[str, Any]:
    """Return the JSON document of an engine's measurement: medians and all rounds."""
    return {**provenance(), "engine": asdict(report), "medians": list(report.rows())}


def provenance() -> dict[str, Any]:
    """Return when, where and with which command and versions something was measured."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        # The command holds no API key: a key comes from the environment only.
        "command": " ".join(["doppelkopf", *sys.argv[1:]]),
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
        },
        "versions": {"python": platform.python_version(), "doppelkopf": version("doppelkopf")},
    }


def write_json(document: dict[str, Any], path: Path) -> None:
    """Write a document as indented JSON."""
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _counts(counts: Any) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in counts.items()) or "none"


def _milliseconds(values: Any, name: str) -> str:
    return f"{values[name]:,.1f} ms" if name in values else "-"
