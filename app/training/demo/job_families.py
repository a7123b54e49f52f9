"""Job families: groups of occupations with the titles, tasks and qualifications that ads name.

The tables in `templates/families/` complement the occupation data, whose wording is that of a
dictionary, with the wording of German and Swiss employers. A family applies to all KldB codes that
start with one of its prefixes.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from app.core.errors import DataError
from app.training.demo.job_titles import parse_title
from app.training.demo.occupations import JobTitle
from app.training.demo.taxonomy import Taxonomy

TITLES_LINE = re.compile(
    r"^(?P<code>\d{5})(?: (?P<level>[a-z]+))?(?: (?P<country>DE|CH))?: (?P<names>.+)$"
)


@dataclass(frozen=True, slots=True)
class JobFamily:
    """Tasks and qualifications that the ads of a group of occupations name."""

    tasks: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    trainings: tuple[str, ...] = ()
    trainings_ch: tuple[str, ...] = ()
    further: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()


Families = tuple[Mapping[str, JobFamily], tuple[JobTitle, ...]]
FamilyReader = Callable[[Taxonomy], Families]


def read_families(taxonomy: Taxonomy) -> Families:
    """Read the tables in `templates/families/`.

    Returns:
        The families by KldB prefix, and all their titles.

    Raises:
        DataError: a line is malformed, or its code is not in the taxonomy.
    """
    families: dict[str, JobFamily] = {}
    titles: list[JobTitle] = []
    folder = files("app.training.demo.templates") / "families"
    for path in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not path.name.endswith(".toml"):
            continue
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["family"]:
            family = _family(entry)
            families |= dict.fromkeys(entry["codes"].split(), family)
            titles += _titles(entry.get("titles", ""), taxonomy, path.name)
    return families, tuple(titles)


def merge_titles(own: Iterable[JobTitle], listed: Iterable[JobTitle]) -> tuple[JobTitle, ...]:
    """Merge the families' titles with those of the catalog: one label per title and country.

    Code and labels of the catalog take precedence, except over lines that name a level (source
    "chosen"): these follow the labelling guidelines (clerks) or hold in one country only (Pflege,
    HF). Codes of ESCO, which come from a crosswalk, never take precedence.
    """
    by_key = {job.forms.key: job for job in listed}
    merged: list[JobTitle] = []
    for job in own:
        other = by_key.get(job.forms.key)
        if other is not None and job.source == "own" and other.source != "esco":
            job = replace(job, code=other.code, category=other.category, level=other.level)
            del by_key[job.forms.key]
        elif other is not None and job.country:
            other_country = "DE" if job.country == "CH" else "CH"
            by_key[job.forms.key] = replace(other, country=other_country)
        elif other is not None:
            del by_key[job.forms.key]
        merged.append(job)
    return (*merged, *by_key.values())


def _family(entry: Mapping[str, Any]) -> JobFamily:
    parts = {
        name: tuple(" ".join(part.split()) for part in entry[name].split(";") if part.strip())
        for name in JobFamily.__dataclass_fields__
        if name in entry and name != "tasks"
    }
    tasks = tuple(line.strip() for line in entry.get("tasks", "").splitlines() if line.strip())
    return JobFamily(tasks=tasks, **parts)


def _titles(block: str, taxonomy: Taxonomy, file: str) -> Iterable[JobTitle]:
    """Parse lines such as "81302 advanced CH: dipl. Pflegefachperson HF; ..."."""
    for line in filter(None, map(str.strip, block.splitlines())):
        match = TITLES_LINE.match(line)
        category = taxonomy.category(match["code"]) if match else None
        if match is None or category is None:
            raise DataError.at(file, f"'{line[:40]}' is not a line of titles")
        code = match["code"]
        level = match["level"] or taxonomy.level(code)
        if level not in taxonomy.levels.labels:
            raise DataError.at(file, f"'{line[:40]}' names an unknown level")
        source = "chosen" if match["level"] else "own"
        for name in match["names"].split(";"):
            forms = parse_title(name.strip())
            yield JobTitle(forms, code, category, level, source, "", match["country"] or "")
