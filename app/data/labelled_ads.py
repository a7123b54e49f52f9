"""Reads ads and their labels from a file, and checks them."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt

from app.core.errors import DataError
from app.core.head_labels import HEADS, IGNORE_INDEX, Head
from app.core.label_files import did_you_mean
from app.core.types import Ad, Format
from app.data.files import Row, as_text, column_list, read_rows

Targets = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ColumnNames:
    """The names of the columns to read; None means the default name, which is the field's name.

    Without `title` and `group` the file may lack these columns.
    """

    text: str | None = None
    title: str | None = None
    job_category: str | None = None
    min_education: str | None = None
    group: str | None = None

    def of_text(self, path: PurePath, first: Row) -> tuple[str, str | None]:
        """Return the names of the text column and of the title column, or None without titles.

        If the file has a title column but no text column, the titles are the texts.

        Args:
            path: named in errors.
            first: the file's first row.

        Raises:
            DataError: the file lacks one of the columns.
        """
        title = self.title or ("title" if "title" in first else None)
        if title is not None:
            self._require(path, first, title, "--title-column")
        if self.text is None and "text" not in first and title is not None:
            return title, None
        text = self.text or "text"
        self._require(path, first, text, "--text-column")
        return text, title

    def of_labels(self, path: Path, first: Row) -> dict[str, str]:
        """Return the name of the label column of each head.

        Raises:
            DataError: the file lacks one of them.
        """
        columns = {}
        for head in HEADS:
            columns[head] = getattr(self, head) or head
            self._require(path, first, columns[head], f"--{head.replace('_', '-')}-column")
        return columns

    def of_group(self, path: Path, first: Row) -> str | None:
        """Return the name of the group column; None if none was chosen.

        Raises:
            DataError: the file lacks it.
        """
        if self.group is not None:
            self._require(path, first, self.group, "--group-column")
        return self.group

    @staticmethod
    def _require(path: PurePath, first: Row, column: str, option: str) -> None:
        if column not in first:
            raise DataError.at(
                path,
                f"there is no such column; found are {column_list(first)} (name it with {option}).",
                column=column,
            )


@dataclass
class LabelledAds:
    """The labelled rows of a file, in order, as parallel lists."""

    path: Path
    columns: Mapping[str, str]
    """By head, the name of its label column."""
    rows: list[int] = field(default_factory=list)
    """Each row's 1-based number in the file."""
    ads: list[Ad] = field(default_factory=list)
    labels: list[tuple[str, str]] = field(default_factory=list)
    """Each row's labels in the order of `HEADS`; an empty string is a missing label."""
    groups: list[str] = field(default_factory=list)
    """Each row's group; empty without a group column."""
    unlabelled: int = 0
    """Number of rows that were skipped because they have no label."""

    def __len__(self) -> int:
        return len(self.ads)

    def select(self, indices: list[int]) -> "LabelledAds":
        """Return the rows with these indices, in the order of the indices."""
        return LabelledAds(
            self.path,
            self.columns,
            [self.rows[index] for index in indices],
            [self.ads[index] for index in indices],
            [self.labels[index] for index in indices],
            [self.groups[index] for index in indices] if self.groups else [],
        )

    def heads(self) -> dict[str, Head]:
        """Return both heads with the labels that occur in the rows, sorted.

        Raises:
            DataError: a head has fewer than two labels.
        """
        heads = {}
        for index, name in enumerate(HEADS):
            labels = sorted({pair[index] for pair in self.labels} - {""})
            if len(labels) < 2:
                raise DataError.at(
                    self.path,
                    "a head needs at least two classes, found is "
                    + (f"only '{labels[0]}'." if labels else "none."),
                    column=self.columns[name],
                )
            heads[name] = Head(labels=tuple(labels))
        return heads

    def targets(self, heads: Mapping[str, Head], source: str) -> dict[str, Targets]:
        """Return the index of each row's label, or `IGNORE_INDEX` without one, by head.

        Args:
            heads: both heads by name.
            source: where the labels come from, for the message "'x' is none of the 9 labels of".

        Raises:
            DataError: a label is unknown.
        """
        targets = {}
        for index, name in enumerate(HEADS):
            known = {label: number for number, label in enumerate(heads[name].labels)}
            column = [pair[index] for pair in self.labels]
            for row, label in zip(self.rows, column, strict=True):
                if label and label not in known:
                    raise DataError.at(
                        self.path,
                        f"'{label}' is none of the {len(known)} labels of {source}"
                        f"{did_you_mean(label, heads[name].labels)}",
                        row=row,
                        column=self.columns[name],
                    )
            targets[name] = np.array(
                [known[label] if label else IGNORE_INDEX for label in column], dtype=np.int64
            )
        return targets


def read_ads(path: Path, columns: ColumnNames) -> Iterator[tuple[int, Row, Ad]]:
    """Yield each row's 1-based number, its cells and its ad.

    Raises:
        DataError: the file cannot be read, a column is missing, or a text is empty; names the row.
    """
    text: str | None = None
    title: str | None = None
    for number, row in read_rows(path):
        if text is None:
            text, title = columns.of_text(path, row)
        yield number, row, _ad_with_text(path, number, row, text, title)


def read_first_ads(path: Path, count: int = 5000) -> list[Ad]:
    """Read the `text` column, and the `title` column if any, of a file's first `count` rows.

    Raises:
        DataError: the file cannot be read, a row has no text, or there are no rows.
    """
    rows = islice(read_rows(path), count)
    ads = [_ad_with_text(path, number, row, "text", "title") for number, row in rows]
    if not ads:
        raise DataError.at(path, "has no rows.")
    return ads


def ad_of(row: Row, text: str, title: str | None, format: Format = "text") -> Ad:
    """Return the ad in a row's text and title columns; an empty cell gives an empty text."""
    title_text = as_text(row.get(title)) if title else ""
    return Ad(as_text(row.get(text)), title_text or None, format)


def _ad_with_text(path: Path, number: int, row: Row, text: str, title: str | None) -> Ad:
    ad = ad_of(row, text, title)
    if not ad.text:
        raise DataError.at(path, "the text is empty.", row=number, column=text)
    return ad


def read_labelled(path: Path, columns: ColumnNames) -> LabelledAds:
    """Read a file of labelled ads; rows without a label for either head are skipped and counted.

    Raises:
        DataError: the file is malformed or has no labels; names row and column of the first fault.
    """
    table: LabelledAds | None = None
    group: str | None = None
    for number, row, ad in read_ads(path, columns):
        if table is None:
            table = LabelledAds(path, columns.of_labels(path, row))
            group = columns.of_group(path, row)
        job, education = (_label(path, number, row, table.columns[head]) for head in HEADS)
        if not job and not education:
            table.unlabelled += 1
            continue
        table.rows.append(number)
        table.ads.append(ad)
        table.labels.append((job, education))
        if group is not None:
            table.groups.append(as_text(row.get(group)))
    if table is None:
        raise DataError.at(path, "has no rows.")
    if not table.ads:
        raise DataError.at(path, f"none of its {table.unlabelled} rows has a label.")
    return table


def _label(path: Path, number: int, row: Row, column: str) -> str:
    label = as_text(row.get(column))
    if len(label) > 200:
        raise DataError.at(path, "a label has at most 200 characters.", row=number, column=column)
    return label


def check_enough(
    table: LabelledAds, targets: Mapping[str, Targets], heads: Mapping[str, Head]
) -> None:
    """Check that a table has enough labels to train on.

    Raises:
        DataError: for one of the heads, it has rows of a single class only, or fewer labelled rows
            than the head has classes.
    """
    for name, head in heads.items():
        seen = targets[name][targets[name] != IGNORE_INDEX]
        if len(set(seen.tolist())) < 2:
            found = f"only '{head.labels[seen[0]]}'" if len(seen) else "none"
            raise DataError.at(
                table.path,
                f"a head needs rows of at least two classes to train on, found is {found}.",
                column=table.columns[name],
            )
        if len(seen) < len(head.labels):
            raise DataError.at(
                table.path,
                f"{len(seen)} labelled rows to train on are fewer than {len(head.labels)} classes.",
                column=table.columns[name],
            )


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hex; model cards name the training data by it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
