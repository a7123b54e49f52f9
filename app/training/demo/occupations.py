"""Reads the occupation data: job titles with both labels, tasks, descriptions, qualifications.

The tables are those of the German classification KldB 2010 (index of titles, explanations), the
occupations of the Bundesagentur für Arbeit (BA), the European classification ESCO, and the
crosswalk from KldB to ISCO-08, by which ESCO's occupations are coded.
"""

import html
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from app.core.errors import DataError
from app.training.demo.job_titles import TitleForms, parse_title
from app.training.demo.taxonomy import Taxonomy, read_table, read_taxonomy

T = TypeVar("T")

KLDB_DIGITS = 5
DEGREE = re.compile(r"^(Bachelor|Master|Diplom|Magister|Staatsexamen)\b")
SUBJECT = re.compile(r"^(?:Bachelor|Master) of [\w.& ]+? - (?P<subject>[^()]{4,60})(?: \(.*)?$")
FURTHER_TRAINING = re.compile(
    r"meister|techniker|fachwirt|betriebswirt|fachkaufmann|Geprüft", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class JobTitle:
    """A job title with its KldB code and labels."""

    forms: TitleForms
    code: str
    category: str
    level: str
    """The usual education, which is the label of ads that state none."""
    source: str
    """The table it is from: ba, kldb, esco; own or chosen, see `job_families`."""
    description: str = ""
    country: str = ""
    """DE or CH if the title is used in one of them only."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """The occupation data from which ads are generated, by KldB code or its prefix."""

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


def read_catalog(shared: Path) -> Catalog:
    """Read the occupation data in `shared/data` and the label tables in `shared/taxonomy`.

    Raises:
        DataError: a table or a column is missing, or a code is malformed.
    """
    data = shared / "data"
    taxonomy = read_taxonomy(shared / "taxonomy")
    occupations = _read_ba(data / "ba_occupations.csv")
    index = _read_index(data / "kldb2010_titles.tsv")
    current = [row for row in occupations if not DEGREE.match(row[0])]
    # The list of 2024 takes precedence over the index of 2019, and both over ESCO, whose codes
    # are derived by the crosswalk.
    known = _merge(taxonomy, [("ba", current), ("kldb", index)])
    titles = [*known, *_read_esco(data, taxonomy, known)]
    tasks, descriptions = _read_explanations(data / "kldb2010_explanations.csv")
    trainings, further, studies = _qualifications(occupations)
    return Catalog(taxonomy, tuple(titles), tasks, descriptions, trainings, further, studies)


Pools = dict[str, tuple[str, ...]]
"""Names of qualifications by KldB prefix."""

CodedTitle = tuple[str, str]
"""A title as its table writes it, and its KldB code."""


def _check_code(path: Path, number: int, code: str) -> str:
    if len(code) != KLDB_DIGITS or not code.isdigit():
        raise DataError.at(path, f"'{code}' is not a five-digit KldB code", row=number)
    return code


def _read_index(path: Path) -> list[CodedTitle]:
    rows = read_table(path, ("title", "kldb5"), "\t")
    return [(row["title"], _check_code(path, number, row["kldb5"])) for number, row in rows]


def _read_ba(path: Path) -> list[CodedTitle]:
    """Read the short titles; a `bkz` such as "B 29302-100" contains the KldB code."""
    titles = []
    for number, row in read_table(path, ("bkz", "short_title")):
        code = re.sub(r"^\D*", "", row["bkz"]).split("-")[0]
        titles.append((row["short_title"], _check_code(path, number, code)))
    return titles


def _merge(
    taxonomy: Taxonomy, sources: Iterable[tuple[str, Sequence[CodedTitle]]]
) -> list[JobTitle]:
    """Return each title once, from the first source that has it; see also `_choose_code`."""
    titles: dict[str, JobTitle] = {}
    for source, rows in sources:
        codes: dict[str, dict[str, TitleForms]] = defaultdict(dict)
        for title, row_code in rows:
            forms = parse_title(title)
            codes[forms.key][row_code] = forms
        for key, forms_by_code in codes.items():
            code = _choose_code(taxonomy, forms_by_code)
            if key in titles or code is None:
                continue
            if job := _job(taxonomy, forms_by_code[code], code, source):
                titles[key] = job
    return list(titles.values())


def _choose_code(taxonomy: Taxonomy, codes: Iterable[str]) -> str | None:
    """Return the one code of a title with several codes, or None if its category is ambiguous.

    Of several levels the lowest is taken, because it is enough for an applicant: the labelling
    guidelines read "Ausbildung oder Studium" in the same way.
    """
    codes = list(codes)
    if len({taxonomy.category(code) for code in codes}) > 1:
        return None
    return min(codes, key=lambda code: (code[4], code))


def _job(taxonomy: Taxonomy, forms: TitleForms, code: str, source: str) -> JobTitle | None:
    category, level = taxonomy.category(code), taxonomy.level(code)
    if category is None or level is None or not forms.masculine:
        return None
    return JobTitle(forms, code, category, level, source)


def _read_esco(data: Path, taxonomy: Taxonomy, known: Sequence[JobTitle]) -> list[JobTitle]:
    """Read the ESCO titles that `known` lacks.

    Their code is that of a synonym in `known`, or else the one that the crosswalk gives.
    """
    crosswalk: dict[str, list[str]] = defaultdict(list)
    path = data / "kldb2010_isco08.csv"
    for number, row in read_table(path, ("kldb5", "isco08")):
        crosswalk[row["isco08"]].append(_check_code(path, number, row["kldb5"].zfill(KLDB_DIGITS)))
    codes = {job.forms.key: job.code for job in known}
    titles: dict[str, JobTitle] = {}
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
                titles.setdefault(name.key, job)
    return list(titles.values())


def _alternatives(cell: str) -> list[TitleForms]:
    """Return the alternative titles of a cell, with masculine and feminine forms paired."""
    names = [name.strip() for name in cell.split("|") if name.strip()]
    feminine = {name[:-2]: name for name in names if name.endswith("in")}
    # Feminine forms are paired with their masculine; titles that end in "en" are mostly plurals.
    alone = [n for n in names if not n.endswith(("in", "en", "innen")) and 4 <= len(n) <= 60]
    return [TitleForms(name, feminine.get(name, "")) for name in alone]


def _crosswalk_code(taxonomy: Taxonomy, codes: Sequence[str], isco: str) -> str | None:
    """Choose a KldB code for an ISCO group, if 3 of 4 of its codes have the same category."""
    if not codes:
        return None
    category, votes = Counter(taxonomy.category(code) for code in codes).most_common(1)[0]
    if category is None or votes < 0.75 * len(codes):
        return None
    # The first digit of an ISCO code is the skill level: 9 helpers, 4-8 trained, 3 technicians.
    digit = {"9": "1", "3": "3", "2": "4", "1": "4"}.get(isco[:1], "2")
    candidates = [code for code in codes if taxonomy.category(code) == category]
    return min(candidates, key=lambda code: (abs(int(code[4]) - int(digit)), code))


def _read_explanations(path: Path) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Read task phrases and descriptions by code; the table lacks the codes' leading zeros."""
    key = "Schlüssel KldB 2010, V. 2020"
    tasks, descriptions = {}, {}
    columns = (key, "Ebene", "Allgemeine Bemerkungen", "Einschlüsse")
    for number, row in read_table(path, columns, ";"):
        if not row["Ebene"].isdigit():
            raise DataError.at(path, "the level is not a number", row=number, column="Ebene")
        code = row[key].zfill(int(row["Ebene"]))
        if phrases := split_tasks(row["Einschlüsse"]):
            tasks[code] = phrases
        if description := _plain(row["Allgemeine Bemerkungen"]):
            descriptions[code] = " ".join(description.split())
    return tasks, descriptions


def _plain(cell: str) -> str:
    return html.unescape(cell).replace("\xa0", " ").strip()


def split_tasks(cell: str) -> tuple[str, ...]:
    """Split a cell into task phrases, which are separated by two or more spaces."""
    phrases = (" ".join(phrase.split()) for phrase in re.split(r"\s{2,}", _plain(cell)))
    return tuple(phrase for phrase in phrases if len(phrase) > 8)


def _qualifications(rows: Sequence[CodedTitle]) -> tuple[Pools, Pools, Pools]:
    """Return the trainings, further trainings and study subjects of each 3-digit group."""
    # Dicts serve as ordered sets.
    trainings: dict[str, dict[str, None]] = defaultdict(dict)
    further: dict[str, dict[str, None]] = defaultdict(dict)
    studies: dict[str, dict[str, None]] = defaultdict(dict)
    for title, code in rows:
        if match := SUBJECT.match(title):
            studies[code[:3]][match["subject"]] = None
        elif not DEGREE.match(title) and "." not in title and len(title) < 60:
            name = parse_title(title).masculine
            if code[4] == "2":
                trainings[code[:3]][name] = None
            elif code[4] == "3" and FURTHER_TRAINING.search(name):
                further[code[:3]][name] = None
    first, second, third = (
        {group: tuple(names) for group, names in pool.items()}
        for pool in (trainings, further, studies)
    )
    return first, second, third
