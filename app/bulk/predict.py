"""Predicts one file: writes its rows, with the columns of both heads' predictions, to another file.

Predictions first go to a journal in the folder of the output. Once it holds those of all rows, the
output is written from the rows and the journal in one pass, and renamed into place. So an
interrupted run can be continued whatever the format is, and the output is the same as without the
interruption.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path, PurePath

from app.bulk.journal import Journal
from app.bulk.prediction_columns import (
    COLUMN_NAMES,
    ERROR_COLUMN,
    PROBABILITY_COLUMNS,
    PredictionColumns,
    check_column_names,
)
from app.core.errors import DataError
from app.core.types import Ad, Format
from app.data.files import Row, RowWriter, check_suffix, chunks, read_rows, same_file
from app.data.labelled_ads import ColumnNames, ad_of

PredictAds = Callable[[Sequence[Ad]], Sequence[PredictionColumns]]
"""Returns the columns of each ad, in order."""


@dataclass(frozen=True)
class CheckedInput:
    """A file that was read to its end and is well-formed."""

    path: Path
    rows: int
    fields: tuple[str, ...]
    """The names of all columns, in the order in which they first appear."""


def check_input(path: Path, columns: ColumnNames) -> CheckedInput:
    """Read a file to its end, so that a malformed row is reported now and not hours later.

    Raises:
        DataError: the file is malformed or empty, or has a column of a prediction.
    """
    rows = 0
    fields: dict[str, None] = {}
    for _, row in read_rows(path):
        if not rows:
            columns.of_text(path, row)
        rows += 1
        fields.update(dict.fromkeys(row))
    if not rows:
        raise DataError.at(path, "has no rows.")
    check_column_names(path, fields)
    return CheckedInput(path, rows, tuple(fields))


def predict(
    checked: CheckedInput,
    columns: ColumnNames,
    format: Format,
    out: Path,
    journal: Journal,
    answer: PredictAds,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write every row of a file with each head's label and its probability, or with an error.

    Args:
        checked: the file, as `check_input` returned it.
        columns: the names of its columns.
        format: of its texts and titles.
        out: the file to write; it appears when it is complete.
        journal: keeps the predictions, and holds those of an interrupted run; it is deleted at the
            end.
        answer: predicts a chunk of ads.
        progress: called with the number of rows predicted since the last call.

    Returns:
        The number of rows with an error.

    Raises:
        DataError: the file changed during the run, or `out` cannot be written.
    """
    progress(journal.rows)
    for chunk in chunks(islice(_ads(checked.path, columns, format), journal.rows, None)):
        journal.add(answer(chunk))
        progress(len(chunk))
    if journal.rows != checked.rows:
        raise changed_error(checked.path)
    errors = 0
    names = [*checked.fields, *COLUMN_NAMES]
    with RowWriter(out, names, numbers=PROBABILITY_COLUMNS) as writer:
        for rows in chunks(_predicted_rows(checked.path, journal)):
            writer.write(rows)
            errors += sum(row[ERROR_COLUMN] is not None for row in rows)
    journal.discard()
    return errors


def journal_path(out: Path) -> Path:
    """Return the path of the journal of an output file."""
    return out.with_name(f".{out.name}.answers")


def check_output(out: Path, data: Path, *, overwrite: bool) -> None:
    """Check before the work that its result can and may be written.

    Raises:
        DataError: `out` has an unknown suffix, is the input, or exists without `overwrite`.
    """
    check_suffix(out)
    if same_file(out, data):
        raise DataError.at(out, "is the data itself; name another file with --out.")
    if out.is_dir() or (out.exists() and not overwrite):
        raise DataError.at(out, "exists already; name another file, or add --overwrite.")


def changed_error(path: PurePath) -> DataError:
    """Return the error for a file that changed during a run."""
    return DataError.at(path, "changed while it was read; leave it alone for a run.")


def _ads(path: Path, columns: ColumnNames, format: Format) -> Iterator[Ad]:
    text: str | None = None
    title: str | None = None
    for _, row in read_rows(path):
        if text is None:
            text, title = columns.of_text(path, row)
        yield ad_of(row, text, title, format)


def _predicted_rows(path: Path, journal: Journal) -> Iterator[Row]:
    """Yield each row with its prediction's columns."""
    for pair in zip_longest(read_rows(path), journal.answers()):
        if None in pair:
            raise changed_error(path)
        (_, row), columns = pair
        yield row | columns
