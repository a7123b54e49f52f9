"""Bulk prediction: a file of ads in, the same columns with both predictions out, as a stream.

Answers go to a journal beside the output first, and once all are there the output is written from
the rows and the journal in one pass and renamed into place. So an interrupted run goes on where it
ended, whatever the format, and what comes of it is the same as without the interrupt.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path, PurePath
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from app.bulk.journal import Answer, Journal
from app.core.errors import DataError, EngineError, InvalidRequestError
from app.core.head_labels import HEADS, labels_of
from app.core.postprocessing import best
from app.core.types import Ad, Encoded, Format, LabelProbability, Labels, Scores
from app.data.files import Row, Writer, as_text, check_suffix, chunks, read_rows, same_file
from app.data.labelled_ads import Columns
from app.data.token_batches import PackedPass, results
from app.text.tokenization import AdTokenizer

if TYPE_CHECKING:
    from app.model.checkpoint import Checkpoint

Answering = Callable[[Sequence[Ad]], Sequence[Answer]]
"""Gives the columns that ads get, in order."""

ENGINE = "app.engine:Engine"
ERROR = "prediction_error"
EMPTY = "The text is empty."


@dataclass(frozen=True)
class Checked:
    """A file that was read through once: it is well-formed."""

    path: Path
    rows: int
    fields: tuple[str, ...]
    """All columns, in the order they first appear in."""


@dataclass(frozen=True)
class Predictor:
    """Answers ads with the model.

    Args:
        run: the packed pass.
        tokenizer: of the checkpoint.
        labels: by head, in logit order.
        max_tokens: of a batch.
    """

    run: PackedPass[Scores]
    tokenizer: AdTokenizer
    labels: Mapping[str, Labels]
    max_tokens: int

    @classmethod
    def of(
        cls,
        checkpoint: "Checkpoint",
        device: str,
        dtype: str,
        batch_tokens: int | None,
        engine: str = ENGINE,
    ) -> "Predictor":
        """Load what computes, by its name, and see that it answers with numbers.

        Raises:
            StartupError: the device or the dtype cannot be used here.
        """
        tokenizer = checkpoint.tokenizer()
        made = resolve_name(engine)(checkpoint, device, dtype)
        made.warm_up(tokenizer.encode([Ad("a")]))
        tokens = batch_tokens or made.batch_tokens
        return cls(made.run, tokenizer, labels_of(checkpoint.heads), tokens)

    def answer(self, ads: Sequence[Ad]) -> list[Answer]:
        """Return the columns that each ad gets: its predictions, or why there are none."""
        read = [self._read(ad) for ad in ads]
        encoded = [one for one in read if isinstance(one, Encoded)]
        found = results(self.run, encoded, self.max_tokens)
        return [
            self._columns(next(found)) if isinstance(one, Encoded) else failed(one) for one in read
        ]

    def _read(self, ad: Ad) -> Encoded | str:
        """Return what the model reads of an ad, or why there is nothing to read."""
        try:
            return self.tokenizer.encode([ad])[0] if ad.text else EMPTY
        except InvalidRequestError:
            return "The HTML shows no text."

    def _columns(self, found: Scores | EngineError) -> Answer:
        if isinstance(found, EngineError):
            return failed(str(found))
        return predicted(
            {head: best(found.probabilities[head], self.labels[head], top_k=1)[0] for head in HEADS}
        )


def check(path: Path, columns: Columns) -> Checked:
    """Read a file through, so that a malformed row is told before any work, not hours later.

    Raises:
        DataError: the file is malformed or empty, or a prediction's column is taken.
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
    check_fields(path, fields)
    return Checked(path, rows, tuple(fields))


def check_fields(path: PurePath, fields: Collection[str]) -> None:
    """Raise DataError where a column has the name of a prediction's."""
    for name in predicted_columns():
        if name in fields:
            raise DataError.at(
                path, "the prediction would overwrite this column; rename it.", column=name
            )


def predict(
    checked: Checked,
    columns: Columns,
    format: Format,
    out: Path,
    journal: Journal,
    answer: Answering,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Write every row of a file with each head's label and its probability, or with an error.

    Args:
        checked: what `check` returned of the file.
        columns: the names of its columns.
        format: how its texts and titles are written.
        out: the file to write; it appears when it is complete.
        journal: keeps the answers, those of an interrupted run among them; it is discarded.
        answer: gives the columns that ads get, in order.
        progress: is told how many more rows are answered.

    Returns:
        how many rows got an error.

    Raises:
        DataError: the file changed meanwhile, or `out` cannot be written.
    """
    progress(journal.rows)
    for chunk in chunks(islice(_ads(checked.path, columns, format), journal.rows, None)):
        journal.add(answer(chunk))
        progress(len(chunk))
    if journal.rows != checked.rows:
        raise changed(checked.path)
    errors = 0
    with Writer(out, [*checked.fields, *predicted_columns()], numbers=PROBABILITIES) as writer:
        for rows in chunks(_answered(checked.path, journal)):
            writer.write(rows)
            errors += sum(row[ERROR] is not None for row in rows)
    journal.discard()
    return errors


def journal_of(out: Path) -> Path:
    """Return where the answers are kept until the output is complete."""
    return out.with_name(f".{out.name}.answers")


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
    return [*(f"{head}_{what}" for head in HEADS for what in ("predicted", "probability")), ERROR]


PROBABILITIES = frozenset(f"{head}_probability" for head in HEADS)


def _ads(path: Path, columns: Columns, format: Format) -> Iterator[Ad]:
    """Yield the ad of each row."""
    text: str | None = None
    title: str | None = None
    for _, row in read_rows(path):
        if text is None:
            text, title = columns.of_text(path, row)
        yield ad_of(row, text, title, format)


def ad_of(row: Row, text: str, title: str | None, format: Format) -> Ad:
    """Return the ad of a row with these columns; where it has no words, its text is empty."""
    words = (as_text(row.get(title)) or None) if title else None
    return Ad(as_text(row.get(text)), words, format)


def _answered(path: Path, journal: Journal) -> Iterator[Row]:
    """Yield each row with its answer."""
    for pair in zip_longest(read_rows(path), journal.answers()):
        if None in pair:
            raise changed(path)
        (_, row), answer = pair
        yield row | answer


def changed(path: PurePath) -> DataError:
    """Return the error of a file that is not what it was."""
    return DataError.at(path, "changed while it was read; leave it alone for a run.")


def predicted(labels: Mapping[str, LabelProbability]) -> Answer:
    """Return the columns of a row that was answered with these labels, by head."""
    columns: Answer = dict.fromkeys(predicted_columns())
    for head, label in labels.items():
        columns[f"{head}_predicted"] = label.label
        columns[f"{head}_probability"] = round(label.probability, 6)
    return columns


def failed(reason: str) -> Answer:
    """Return the columns of a row that has no answer."""
    return dict.fromkeys(predicted_columns()) | {ERROR: reason}
