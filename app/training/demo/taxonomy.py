"""The label tables of the demo: both heads' labels, and which of them a KldB code has.

KldB 2010 is the German classification of occupations. The prefix of a code decides the category,
its fifth digit the education that is usual in the occupation.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.errors import DataError
from app.core.head_labels import CREDENTIAL, Head

KLDB_COLUMN, LEVEL_COLUMN = "kldb2010_prefixes", "kldb2010_requirement_level"
DQR_COLUMN = "dqr_levels"
CREDENTIALS_OF_LEVEL = {
    "1": ("no requirements", "high school"),
    "2": ("professional certificate",),
    "3": ("bachelor degree", "associate degree"),
    "4": ("postgraduate degree",),
}
"""The `credential` codes by KldB requirement level, the best match first.

They follow the American school system: a vocational training is closest to a certificate, and a
master craftsman is on the level of a bachelor (DQR 6).
"""

Codes = Mapping[str, Sequence[Sequence[str]]]
"""By scheme, the codes of each label."""


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """The labels of both heads, and the mapping from KldB codes to them."""

    categories: Head
    levels: Head
    category_of_prefix: Mapping[str, str]
    level_of_digit: Mapping[str, str]

    def category(self, code: str) -> str | None:
        """Return the category of the longest known prefix: 232 is design, 23 is materials."""
        for length in range(len(code), 0, -1):
            if label := self.category_of_prefix.get(code[:length]):
                return label
        return None

    def level(self, code: str) -> str | None:
        """Return the usual education level of a five-digit code, which its last digit decides."""
        return self.level_of_digit.get(code[4:5])


def read_table(
    path: Path, columns: Sequence[str], delimiter: str = ","
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table, with their numbers from 1 and only the given columns.

    Raises:
        DataError: the file or a column is missing, or the file is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter)
            header = reader.fieldnames or ()
            for column in columns:
                if column not in header:
                    raise DataError.at(path, f"the column '{column}' is missing")
            for number, row in enumerate(reader, start=1):
                yield number, {name: (row[name] or "").strip() for name in columns}
    except FileNotFoundError as error:
        raise DataError.at(path, "the file does not exist") from error
    except UnicodeDecodeError as error:
        raise DataError.at(path, "the file is not UTF-8") from error


def read_taxonomy(folder: Path) -> Taxonomy:
    """Read `job_categories.csv` and `min_education_levels.csv` of a folder.

    Categories keep the order of their table, levels are sorted by rank.

    Raises:
        DataError: a table or a column is missing.
    """
    names = ("label", "name_de", "name_en")
    path = folder / "job_categories.csv"
    rows = [row for _, row in read_table(path, (*names, KLDB_COLUMN))]
    prefixes = {prefix: row["label"] for row in rows for prefix in row[KLDB_COLUMN].split()}
    levels = [
        row
        for _, row in read_table(
            folder / "min_education_levels.csv", (*names, "rank", LEVEL_COLUMN, DQR_COLUMN)
        )
    ]
    levels.sort(key=lambda row: int(row["rank"]))
    return Taxonomy(
        categories=_head(rows, {"kldb": [row[KLDB_COLUMN].split() for row in rows]}),
        levels=_head(levels, _level_codes(levels), ordered=True),
        category_of_prefix=prefixes,
        level_of_digit={row[LEVEL_COLUMN]: row["label"] for row in levels},
    )


def _level_codes(rows: Sequence[Mapping[str, str]]) -> Codes:
    """Return the levels' codes by scheme; "3-4" in the table means the DQR levels 3 and 4."""
    spans = [[int(end) for end in row[DQR_COLUMN].split("-")] for row in rows]
    levels = [[str(level) for level in range(span[0], span[-1] + 1)] for span in spans]
    return {
        "kldb_level": [[row[LEVEL_COLUMN]] for row in rows],
        # The levels of the German framework (DQR) equal those of the European one (EQF).
        "dqr": levels,
        "eqf": levels,
        CREDENTIAL: [CREDENTIALS_OF_LEVEL[row[LEVEL_COLUMN]] for row in rows],
    }


def _head(rows: Sequence[Mapping[str, str]], codes: Codes, *, ordered: bool = False) -> Head:
    return Head(
        labels=tuple(row["label"] for row in rows),
        names={lang: tuple(row[f"name_{lang}"] for row in rows) for lang in ("de", "en")},
        codes={scheme: tuple(map(tuple, values)) for scheme, values in codes.items()},
        ordered=ordered,
    )
