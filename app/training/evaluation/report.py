"""Writes the report of an evaluation: a folder with an HTML page, plots and metrics.json."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from app.training.evaluation.display_names import HEAD_TITLES, METRIC_TITLES
from app.training.evaluation.evaluate import Evaluation
from app.training.evaluation.head_metrics import HeadMetrics
from app.training.evaluation.plots import confusion_png, reliability_png

PAGE, METRICS = "index.html", "metrics.json"
CLASS_COLUMNS = ("label", "precision", "recall", "F1", "support")

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #1d2430; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #d8dde5; text-align: right; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; height: auto; }
footer, .quiet { color: #5a6475; }
code { overflow-wrap: anywhere; }
"""


def write_report(evaluation: Evaluation, folder: Path) -> Path:
    """Write the files of the report; files of the same names are overwritten.

    Args:
        evaluation: the result to report.
        folder: where to write; created if missing.

    Returns:
        The path of the page. The plots are embedded in it, so it can be passed on without them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plots = {
        name: _plots(name, metrics)
        for name, metrics in evaluation.heads.items()
        if len(metrics.targets)
    }
    for name, files in plots.items():
        for kind, content in files.items():
            (folder / f"{name}_{kind}.png").write_bytes(content)
    (folder / METRICS).write_text(
        json.dumps(evaluation.as_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    page = folder / PAGE
    page.write_text(_page(evaluation, plots), encoding="utf-8")
    return page


def metric_rows(metrics: HeadMetrics) -> list[tuple[str, str]]:
    """Return the metrics of a head as (display name, formatted value)."""
    summary = metrics.summary()
    return [
        (title, _number(summary[name])) for name, title in METRIC_TITLES.items() if name in summary
    ]


def class_rows(metrics: HeadMetrics) -> list[tuple[str, ...]]:
    """Return the rows of the per-class table; the columns are `CLASS_COLUMNS`."""
    return [tuple(_number(value) for value in row.values()) for row in metrics.per_class()]


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _plots(name: str, metrics: HeadMetrics) -> dict[str, bytes]:
    title = HEAD_TITLES[name]
    return {
        "confusion": confusion_png(metrics, f"{title}: confusion matrix (rows of the data)"),
        "reliability": reliability_png(metrics, f"{title}: reliability"),
    }


def _page(evaluation: Evaluation, plots: Mapping[str, Mapping[str, bytes]]) -> str:
    title = f"{evaluation.checkpoint} on {evaluation.data}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>Revision <code>{escape(evaluation.revision)}</code>; {evaluation.rows} labelled rows, "
        f"{evaluation.unlabelled} without a label left out, {evaluation.truncated} longer than the "
        "checkpoint reads.</p>",
    ]
    for name, metrics in evaluation.heads.items():
        parts.append(f"<h2>{HEAD_TITLES[name]}</h2>")
        if name not in plots:
            parts.append("<p>No row has a label for this head.</p>")
            continue
        parts.append(_html_table(("measure", "value"), metric_rows(metrics)))
        parts += [
            f'<img alt="{HEAD_TITLES[name]}: {kind}" '
            f'src="data:image/png;base64,{b64encode(content).decode()}">'
            for kind, content in plots[name].items()
        ]
        parts += ["<h3>By class</h3>", _html_table(CLASS_COLUMNS, class_rows(metrics))]
    parts.append(_explanation(evaluation))
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _explanation(evaluation: Evaluation) -> str:
    return (
        "<footer><p>Macro F1 is the mean over the labels that occur, true or predicted. The mean "
        "level error counts how many levels an answer is off. The calibration error is the mean "
        "gap between confidence and accuracy over ten equal bins (Guo et al. 2017), before and "
        "after the head's temperature. A confusion matrix is shaded by the share of a true "
        f"label's rows.</p><p>Data SHA-256: <code>{escape(evaluation.sha256)}</code></p></footer>"
    )


def _html_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table>\n<tr>{head}</tr>\n{body}\n</table>"
