"""Tables and lines that the commands print about checkpoints and evaluations."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from app.core.head_labels import HEADS, Head
from app.model.checkpoint import Checkpoint
from app.training.evaluation.display_names import HEAD_TITLES, METRIC_TITLES

if TYPE_CHECKING:
    from app.training.evaluation.evaluate import Evaluation


def checkpoint_tables(checkpoint: Checkpoint) -> Iterator[RenderableType]:
    """Yield a checkpoint's sizes, its labels by head, and last its metrics."""
    encoder = checkpoint.config.encoder
    disk = sum(file.stat().st_size for file in checkpoint.path.iterdir() if file.is_file())
    sizes = Table("checkpoint", checkpoint.name)
    for name, value in (
        ("revision", checkpoint.revision),
        ("encoder", encoder.model_type),
        ("layers", encoder.num_hidden_layers),
        ("hidden size", encoder.hidden_size),
        ("vocabulary", f"{encoder.vocab_size:,}"),
        ("window", f"{checkpoint.config.max_length} tokens"),
        ("parameters", f"{checkpoint.parameters:,}"),
        ("weights", str(checkpoint.config.dtype).removeprefix("torch.")),
        ("on disk", f"{disk / 1e6:.1f} MB ({disk:,} bytes)"),
    ):
        sizes.add_row(name, str(value))
    yield sizes
    for name, head in checkpoint.heads.items():
        kind = "ordered, lowest first" if head.ordered else "unordered"
        yield (
            f"{HEAD_TITLES[name]} ({name}): {len(head.labels)} labels, {kind}, "
            f"temperature {head.temperature:.3f}"
        )
        yield _labels(head)
    yield from _metrics(checkpoint.metrics)


def evaluation_tables(evaluation: "Evaluation") -> Iterator[RenderableType]:
    """Yield the counts of rows, a table of classes for each head, and last the metrics."""
    # Reports need the training extra, which showing a checkpoint must not need.
    from app.training.evaluation.report import CLASS_COLUMNS, class_rows, metric_rows

    yield (
        f"{evaluation.rows} labelled rows, {evaluation.unlabelled} without a label left out, "
        f"{evaluation.truncated} longer than the checkpoint reads."
    )
    for name, quality in evaluation.heads.items():
        if not len(quality.targets):
            yield f"No row has a label for {name}."
            continue
        yield f"{HEAD_TITLES[name]}, by class"
        table = Table(*CLASS_COLUMNS)
        for column in table.columns[1:]:
            column.justify = "right"
        for row in class_rows(quality):
            table.add_row(*map(escape, row))
        yield table
    yield _side_by_side(
        {name: dict(metric_rows(quality)) for name, quality in evaluation.heads.items()}
    )


def comparison_tables(checkpoint: Checkpoint) -> Iterator[RenderableType]:
    """Yield for each head the metrics of all contenders, and those of this checkpoint by source."""
    from app.training.demo.comparison_tables import KEY, contender_rows, source_rows

    comparison = checkpoint.metrics[KEY]
    contenders = comparison["contenders"]
    own = contenders[comparison["checkpoint"]]
    for head in HEADS:
        yield f"{HEAD_TITLES[head]}, {comparison['ads']} hand-labelled ads"
        for header, *body in (contender_rows(contenders, [head]), source_rows(own, [head])):
            table = Table(*header)
            for column in table.columns[1:]:
                column.justify = "right"
            for row in body:
                table.add_row(*map(escape, row))
            yield table


def _labels(head: Head) -> Table:
    table = Table("#", "label", *head.names, *head.codes)
    for index, label in enumerate(head.labels):
        names = [names[index] for names in head.names.values()]
        codes = [" ".join(codes[index]) for codes in head.codes.values()]
        table.add_row(str(index), *map(escape, [label, *names, *codes]))
    return table


def _metrics(metrics: Mapping[str, Any]) -> Iterator[RenderableType]:
    measured = {head: metrics[head] for head in HEADS if isinstance(metrics.get(head), dict)}
    if measured:
        yield _side_by_side(
            {
                head: {
                    title: f"{values[name]:.3f}" if name != "rows" else str(values[name])
                    for name, title in METRIC_TITLES.items()
                    if isinstance(values.get(name), int | float)
                }
                for head, values in measured.items()
            }
        )
    else:
        yield escape(str(metrics.get("note", "Nothing was measured.")))


def _side_by_side(measures: Mapping[str, Mapping[str, str]]) -> Table:
    table = Table("measure", *(HEAD_TITLES[head] for head in measures))
    for column in table.columns[1:]:
        column.justify = "right"
    for title in METRIC_TITLES.values():
        if any(title in values for values in measures.values()):
            table.add_row(title, *(values.get(title, "-") for values in measures.values()))
    return table
