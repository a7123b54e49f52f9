"""The model card of a trained checkpoint: what it is, how to train it again, how good it is."""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from app.core.head_labels import HEADS, Head
from app.data.labelled_ads import sha256
from app.model.base_encoder import base_name
from app.model.classifier import TwoHeadClassifier
from app.training.evaluation.display_names import METRIC_TITLES
from app.training.options import TrainOptions

PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "doppelkopf")


def model_card(
    options: TrainOptions, max_length: int, model: TwoHeadClassifier, metrics: Mapping[str, Any]
) -> str:
    """Return the card in Markdown.

    Args:
        options: the options of the training.
        max_length: tokens in a window.
        model: the trained model, with its final heads.
        metrics: the content of `metrics.json`.
    """
    heads = model.config.parsed_heads()
    encoder = model.config.encoder
    sizes = (
        f"{encoder.num_hidden_layers} layers, {encoder.hidden_size} wide, "
        f"windows of {max_length} tokens, {options.save_dtype}"
    )
    lines = [
        f"# {options.out.name}",
        "",
        "Tells a job ad's category and the minimum education it asks for, in one encoder pass.",
        "",
        *([options.note, ""] if options.note else []),
        *([f"Licence: {options.license}", ""] if options.license else []),
        f"- Base encoder: {base_name(options.base)} ({encoder.model_type}, {sizes})",
        *(f"- `{name}`: {_label_count(heads[name])}" for name in HEADS),
        "",
        "## Trained with",
        "",
        "```sh",
        options.command(max_length),
        "```",
        "",
        *_teacher_lines(metrics.get("teacher")),
        *_data_lines(options),
        f"- Rows: {_row_counts(metrics['rows'])}",
        f"- Seed: {options.seed}",
        f"- Device: {metrics['device']}. On a CPU the same command, versions and threads give the "
        "same weights; a GPU's differ in their last digits",
        f"- Python {platform.python_version()}, "
        + ", ".join(f"{package} {_version(package)}" for package in PACKAGES),
        "",
        "## Quality on the validation rows",
        "",
        *_metrics_table(metrics),
    ]
    return "\n".join(lines) + "\n"


def _label_count(head: Head) -> str:
    codes = f", with codes ({', '.join(head.codes)})" if head.codes else ""
    return f"{len(head.labels)} labels{codes}"


def _teacher_lines(teacher: Mapping[str, Any] | None) -> list[str]:
    if teacher is None:
        return []
    sentence = f"Its teacher has {teacher['layers']} layers and the revision {teacher['revision']}"
    if teacher["command"] is None:
        return [f"{sentence}.", ""]
    return [f"{sentence}; it was trained with", "", "```sh", teacher["command"], "```", ""]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "of unknown version"


def _data_lines(options: TrainOptions) -> list[str]:
    files = {"Data": options.data, "Validation": options.validation, "Labels": options.labels}
    return [
        f"- {role}: {path.name}, SHA-256 `{sha256(path)}`" for role, path in files.items() if path
    ]


def _row_counts(counts: Mapping[str, Any]) -> str:
    parts = [
        f"{counts[part]['rows']} {verb} in {counts[part]['windows']} windows ("
        + ", ".join(f"{counts[part][head]} with {head}" for head in HEADS)
        + ")"
        for part, verb in (("train", "trained on"), ("validation", "validated on"))
        if part in counts
    ]
    return "; ".join([*parts, f"{counts['unlabelled']} left out without a label"])


def _metrics_table(metrics: Mapping[str, Any]) -> list[str]:
    if not any(head in metrics for head in HEADS):
        return ["Nothing was measured: no rows were kept for validation."]
    lines = [f"| measure | {' | '.join(HEADS)} |", "|---|---|---|"]
    for name, title in METRIC_TITLES.items():
        cells = [metrics[head].get(name, "-") for head in HEADS]
        if any(cell != "-" for cell in cells):
            lines.append(f"| {title} | {' | '.join(map(str, cells))} |")
    return lines
