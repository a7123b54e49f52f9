"""Bulk prediction: a file of ads in, the same columns with both predictions out, as a stream."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.errors import DataError
from app.heads import HEADS
from app.records import Labels, Scores
from app.scoring import best
from app.tokenization import AdTokenizer
from app.training.batches import PackedPass, answers
from app.training.data import Columns, read_ads
from app.training.files import Row, Writer, check_suffix, chunks, same_file


@dataclass(frozen=True)
class Checked:
    """A file that was read through once: its rows can all be predicted."""

    path: Path
    rows: int
    fields: tuple[str, ...]
    """All columns, in the order they first appear in."""


def check(path: Path, columns: Columns) -> Checked:
    """Read a file through, so that a bad row is told before any work, not hours later.

    Raises:
        DataError: the file is malformed, a text is empty, or a prediction's column is taken.
    """
    rows = 0
    fields: dict[str, None] = {}
    for _, row, _ in read_ads(path, columns):
        rows += 1
        fields.update(dict.fromkeys(row))
    if not rows:
        raise DataError.at(path, "has no rows.")
    for name in predicted_columns():
        if name in fields:
            raise DataError.at(
                path, "the prediction would overwrite this column; rename it.", column=name
            )
    return Checked(path, rows, tuple(fields))


def predict(
    checked: Checked,
    columns: Columns,
    out: Path,
    run: PackedPass[Scores],
    tokenizer: AdTokenizer,
    labels: Mapping[str, Labels],
    max_tokens: int,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Write every row of a file with each head's label and its probability.

    Args:
        checked: what `check` returned of the file.
        columns: the names of its columns.
        out: the file to write; it appears when it is complete.
        run: the packed pass.
        tokenizer: of the checkpoint.
        labels: by head, in logit order.
        max_tokens: of a batch.
        progress: is told how many rows were just written.

    Raises:
        DataError: the file changed meanwhile, or an ad does not fit into the device's memory.
    """
    with Writer(out, [*checked.fields, *predicted_columns()]) as writer:
        for chunk in chunks(read_ads(checked.path, columns)):
            encoded = tokenizer.encode([ad for _, _, ad in chunk])
            numbered = zip([number for number, _, _ in chunk], encoded, strict=True)
            scored = answers(run, numbered, max_tokens, checked.path)
            writer.write(
                [
                    row | _fields(scores, labels)
                    for (_, row, _), scores in zip(chunk, scored, strict=True)
                ]
            )
            progress(len(chunk))


def check_out(out: Path, data: Path, *, overwrite: bool) -> None:
    """Stop before work begins whose result could not or should not be written.

    Raises:
        DataError: an unknown suffix, the input itself, or a file that is there already.
    """
    check_suffix(out)
    if same_file(out, data):
        raise DataError.at(out, "is the data itself; name another file with --out.")
    if out.is_dir() or (out.exists() and not overwrite):
        raise DataError.at(out, "exists already; name another file, or add --overwrite.")


def predicted_columns() -> list[str]:
    """Return the names of the columns that predictions add."""
    return [f"{head}_{what}" for head in HEADS for what in ("predicted", "probability")]


def _fields(scores: Scores, labels: Mapping[str, Labels]) -> Row:
    fields: Row = {}
    for head in HEADS:
        top = best(scores.probabilities[head], labels[head], top_k=1)[0]
        fields[f"{head}_predicted"] = top.label
        fields[f"{head}_probability"] = round(top.probability, 6)
    return fields
