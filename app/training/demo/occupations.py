"""Occupation data of a shared folder as job titles with their two labels.

The tables are KldB 2010 (titles, explanations, BA occupations) and ESCO with the crosswalk to
ISCO-08. A KldB code carries both labels: its prefix is the category, its fifth digit the level.
"""

import csv
import html
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from app.core.errors import DataError
from app.core.head_labels import CREDENTIAL, Head
from app.training.demo.job_titles import Forms, parse_title

T = TypeVar("T")

KLDB_DIGITS = 5
KLDB_COLUMN, LEVEL_COLUMN = "kldb2010_prefixes", "kldb2010_requirement_level"
DQR_COLUMN = "dqr_levels"
CREDENTIALS_OF_LEVEL = {
    "1": ("no requirements", "high school"),
    "2": ("professional certificate",),
    "3": ("bachelor degree", "associate degree"),
    "4": ("postgraduate degree",),
}
"""By the KldB's requirement level, the first as the one that stands for it. The words are American:
a vocational training is nearest to a certificate, a master craftsman a bachelor's equal (DQR 6)."""

DEGREE = re.compile(r"^(Bachelor|Master|Diplom|Magister|Staatsexamen)\b")
SUBJECT = re.compile(r"^(?:Bachelor|Master) of [\w.& ]+? - (?P<subject>[^()]{4,60})(?: \(.*)?$")
FURTHER = re.compile(r"meister|techniker|fachwirt|betriebswirt|fachkaufmann|Geprüft", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """The label tables: which category and which level a KldB code means."""

    categories: Head
    levels: Head
    prefixes: Mapping[str, str]
    level_of_digit: Mapping[str, str]

    def category(self, code: str) -> str | None:
        """Return the category of the longest prefix: 232 is design although 23 is materials."""
        for length in range(len(code), 0, -1):
            if label := self.prefixes.get(code[:length]):
                return label
        return None

    def level(self, code: str) -> str | None:
        """Return the usual level of a five-digit code, its last digit."""
        return self.level_of_digit.get(code[4:5])


@dataclass(frozen=True, slots=True)
class JobTitle:
    """One title of an occupation; `level` is the usual requirement when an ad states none."""

    forms: Forms
    code: str
    category: str
    level: str
    source: str
    description: str = ""
    country: str = ""


@dataclass(frozen=True, slots=True)
class Catalog:
    """All that the ads are composed from, by KldB code or its prefix."""

    taxonomy: Taxonomy
    titles: tuple[JobTitle, ...]
    tasks: Mapping[str, tuple[str, ...]]
    descriptions: Mapping[str, str]
    trainings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    further: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    studies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def by_prefix(table: Mapping[str, T], code: str, shortest: int) -> T | None:
    """Return the entry of the longest prefix of `code` with at least `shortest` digits."""
    for length in range(len(code), shortest - 1, -1):
        if (found := table.get(code[:length])) is not None:
            return found
    return None


def read_table(
    path: Path, columns: Sequence[str], delimiter: str = ","
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the numbered rows of a table; a missing file or column is one sentence."""
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
    """Read the two label tables of a taxonomy folder, in their own order."""
    names = ("label", "name_de", "name_en")
    path = folder / "job_categories.csv"
    rows = [row for _, row in read_table(path, (*names, KLDB_COLUMN))]
    prefixes = {p: row["label"] for row in rows for p in row[KLDB_COLUMN].split()}
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
        prefixes=prefixes,
        level_of_digit={row[LEVEL_COLUMN]: row["label"] for row in levels},
    )


Codes = Mapping[str, Sequence[Sequence[str]]]


def _level_codes(rows: Sequence[Mapping[str, str]]) -> Codes:
    """Return the codes of the levels: "3-4" in the table stands for the DQR's levels 3 and 4."""
    spans = [[int(end) for end in row[DQR_COLUMN].split("-")] for row in rows]
    levels = [[str(level) for level in range(span[0], span[-1] + 1)] for span in spans]
    return {
        "kldb_level": [[row[LEVEL_COLUMN]] for row in rows],
        # The DQR's levels are those of the European framework, one for one.
        "dqr": levels,
        "eqf": levels,
        CREDENTIAL: [CREDENTIALS_OF_LEVEL[row[LEVEL_COLUMN]] for row in rows],
    }


def _head(rows: Sequence[Mapping[str, str]], codes: Codes, *, ordered: bool = False) -> Head:
    return Head(
        labels=tuple(row["label"] for row in rows),
        names={lang: tuple(row[f"name_{lang}"] for row in rows) for lang in ("de", "en")},
        codes={scheme: tuple(map(tuple, given)) for scheme, given in codes.items()},
        ordered=ordered,
    )


def read_catalog(shared: Path) -> Catalog:
    """Read the occupation data of `shared`; the same files give the same catalog."""
    data = shared / "data"
    taxonomy = read_taxonomy(shared / "taxonomy")
    occupations = _read_ba(data / "ba_occupations.csv")
    index = _read_index(data / "kldb2010_titles.tsv")
    current = [row for row in occupations if not DEGREE.match(row[0])]
    # The 2024 list overrules the 2019 index, and both overrule ESCO, whose codes are derived.
    known = _merge(taxonomy, [("ba", current), ("kldb", index)])
    titles = [*known, *_read_esco(data, taxonomy, known)]
    tasks, descriptions = _read_explanations(data / "kldb2010_explanations.csv")
    trainings, further, studies = _qualifications(occupations)
    return Catalog(taxonomy, tuple(titles), tasks, descriptions, trainings, further, studies)


Row = tuple[str, str]
"""A title as its table writes it, with its KldB code."""


def _check_code(path: Path, number: int, code: str) -> str:
    if len(code) != KLDB_DIGITS or not code.isdigit():
        raise DataError.at(path, f"'{code}' is no five-digit KldB code", row=number)
    return code


def _read_index(path: Path) -> list[Row]:
    rows = read_table(path, ("title", "kldb5"), "\t")
    return [(row["title"], _check_code(path, number, row["kldb5"])) for number, row in rows]


def _read_ba(path: Path) -> list[Row]:
    """Read the short titles; `bkz` is a letter, the five digits, a dash and a running number."""
    found = []
    for number, row in read_table(path, ("bkz", "short_title")):
        code = re.sub(r"^\D*", "", row["bkz"]).split("-")[0]
        found.append((row["short_title"], _check_code(path, number, code)))
    return found


def _merge(taxonomy: Taxonomy, sources: Iterable[tuple[str, Sequence[Row]]]) -> list[JobTitle]:
    """Keep each title once: an earlier source wins; within one source see `_agreed`."""
    titles: dict[str, JobTitle] = {}
    for source, rows in sources:
        codes: dict[str, dict[str, Forms]] = defaultdict(dict)
        for title, code in rows:
            forms = parse_title(title)
            codes[forms.key][code] = forms
        for key, found in codes.items():
            agreed = _agreed(taxonomy, found)
            if key in titles or agreed is None:
                continue
            if job := _job(taxonomy, found[agreed], agreed, source):
                titles[key] = job
    return list(titles.values())


def _agreed(taxonomy: Taxonomy, codes: Iterable[str]) -> str | None:
    """Settle a title with several codes.

    Two categories contradict each other and the title goes; two levels mean that the lower one
    is enough for an applicant, which is how the guidelines read "Ausbildung oder Studium".
    """
    codes = list(codes)
    if len({taxonomy.category(code) for code in codes}) > 1:
        return None
    return min(codes, key=lambda code: (code[4], code))


def _job(taxonomy: Taxonomy, forms: Forms, code: str, source: str) -> JobTitle | None:
    category, level = taxonomy.category(code), taxonomy.level(code)
    if category is None or level is None or not forms.masculine:
        return None
    return JobTitle(forms, code, category, level, source)


def _read_esco(data: Path, taxonomy: Taxonomy, known: Sequence[JobTitle]) -> list[JobTitle]:
    """Read ESCO titles; a title KldB knows keeps that code, others go through the crosswalk."""
    crosswalk: dict[str, list[str]] = defaultdict(list)
    path = data / "kldb2010_isco08.csv"
    for number, row in read_table(path, ("kldb5", "isco08")):
        crosswalk[row["isco08"]].append(_check_code(path, number, row["kldb5"].zfill(KLDB_DIGITS)))
    codes = {job.forms.key: job.code for job in known}
    found: dict[str, JobTitle] = {}
    columns = ("title", "isco08", "alternative_titles", "description")
    for _, row in read_table(data / "esco_occupations_de.csv", columns):
        names = [parse_title(row["title"]), *_alternatives(row["alternative_titles"])]
        matched = (codes[name.key] for name in names if name.key in codes)
        code = next(matched, None) or _crosswalk_code(
            taxonomy, crosswalk[row["isco08"]], row["isco08"]
        )
        for name in names:
            if code and name.key not in codes and (job := _job(taxonomy, name, code, "esco")):
                description = " ".join(row["description"].split())
                job = JobTitle(job.forms, code, job.category, job.level, "esco", description)
                found.setdefault(name.key, job)
    return list(found.values())


def _alternatives(cell: str) -> list[Forms]:
    """Pair the masculine and feminine forms which ESCO lists side by side."""
    names = [name.strip() for name in cell.split("|") if name.strip()]
    feminine = {name[:-2]: name for name in names if name.endswith("in")}
    # A feminine form is taken with its masculine; what ends in "en" is mostly a plural.
    alone = [n for n in names if not n.endswith(("in", "en", "innen")) and 4 <= len(n) <= 60]
    return [Forms(name, feminine.get(name, "")) for name in alone]


def _crosswalk_code(taxonomy: Taxonomy, codes: Sequence[str], isco: str) -> str | None:
    """Choose a KldB code for an ISCO group: one category has to hold at least 3 of 4 codes."""
    if not codes:
        return None
    category, votes = Counter(taxonomy.category(code) for code in codes).most_common(1)[0]
    if category is None or votes < 0.75 * len(codes):
        return None
    # ISCO's first digit is its own skill level: 9 helpers, 4-8 trained, 3 technicians.
    digit = {"9": "1", "3": "3", "2": "4", "1": "4"}.get(isco[:1], "2")
    mine = [code for code in codes if taxonomy.category(code) == category]
    return min(mine, key=lambda code: (abs(int(code[4]) - int(digit)), code))


def _read_explanations(path: Path) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Read task phrases and descriptions by code, whose leading zeros are put back."""
    key = "Schlüssel KldB 2010, V. 2020"
    tasks, descriptions = {}, {}
    columns = (key, "Ebene", "Allgemeine Bemerkungen", "Einschlüsse")
    for number, row in read_table(path, columns, ";"):
        if not row["Ebene"].isdigit():
            raise DataError.at(path, "the level is no number", row=number, column="Ebene")
        code = row[key].zfill(int(row["Ebene"]))
        if phrases := split_tasks(row["Einschlüsse"]):
            tasks[code] = phrases
        if description := _plain(row["Allgemeine Bemerkungen"]):
            descriptions[code] = " ".join(description.split())
    return tasks, descriptions


def _plain(cell: str) -> str:
    return html.unescape(cell).replace("\xa0", " ").strip()


def split_tasks(cell: str) -> tuple[str, ...]:
    """Split a cell into task phrases; two or more spaces stand between them."""
    phrases = (" ".join(phrase.split()) for phrase in re.split(r"\s{2,}", _plain(cell)))
    return tuple(phrase for phrase in phrases if len(phrase) > 8)


Pools = dict[str, tuple[str, ...]]


def _qualifications(rows: Sequence[Row]) -> tuple[Pools, Pools, Pools]:
    """Collect names of trainings, further trainings and study subjects by 3-digit group."""
    pools: tuple[dict[str, dict[str, None]], ...] = tuple(defaultdict(dict) for _ in range(3))
    for title, code in rows:
        if match := SUBJECT.match(title):
            pools[2][code[:3]][match["subject"]] = None
        elif not DEGREE.match(title) and "." not in title and len(title) < 60:
            name = parse_title(title).masculine
            if code[4] == "2":
                pools[0][code[:3]][name] = None
            elif code[4] == "3" and FURTHER.search(name):
                pools[1][code[:3]][name] = None
    trainings, further, studies = (
        {group: tuple(names) for group, names in pool.items()} for pool in pools
    )
    return trainings, further, studies
