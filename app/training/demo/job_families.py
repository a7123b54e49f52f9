"""Job families: titles, tasks and qualifications as today's ads name them, in our own words.

The occupation data speaks the language of a dictionary; these tables add what German and Swiss
employers write. A family holds for all KldB codes that begin with one of its prefixes.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from app.core.errors import DataError
from app.training.demo.job_titles import parse_title
from app.training.demo.occupations import JobTitle, Taxonomy

HEAD = re.compile(
    r"^(?P<code>\d{5})(?: (?P<level>[a-z]+))?(?: (?P<country>DE|CH))?: (?P<names>.+)$"
)


@dataclass(frozen=True, slots=True)
class Family:
    """What the ads of one group of occupations have in common."""

    tasks: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    trainings: tuple[str, ...] = ()
    trainings_ch: tuple[str, ...] = ()
    further: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()


def read_families(taxonomy: Taxonomy) -> tuple[Mapping[str, Family], tuple[JobTitle, ...]]:
    """Read the tables of this package: the families by KldB prefix, and their titles."""
    families: dict[str, Family] = {}
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
    """Join our titles with the listed ones so that no title has two labels in one country.

    The official tables know better than we do, unless our line names its level: such a line says
    on purpose what the guidelines say (clerks) or what holds in one country only (Pflege, HF).
    ESCO's codes come from a crosswalk and give way to ours.
    """
    by_key = {job.forms.key: job for job in listed}
    merged: list[JobTitle] = []
    for job in own:
        other = by_key.get(job.forms.key)
        if other is not None and job.source == "own" and other.source != "esco":
            job = replace(job, code=other.code, category=other.category, level=other.level)
            del by_key[job.forms.key]
        elif other is not None and job.country:
            rest = "DE" if job.country == "CH" else "CH"
            by_key[job.forms.key] = replace(other, country=rest)
        elif other is not None:
            del by_key[job.forms.key]
        merged.append(job)
    return (*merged, *by_key.values())


def _family(entry: Mapping[str, Any]) -> Family:
    parts = {
        name: tuple(" ".join(part.split()) for part in entry[name].split(";") if part.strip())
        for name in Family.__dataclass_fields__
        if name in entry and name != "tasks"
    }
    tasks = tuple(line.strip() for line in entry.get("tasks", "").splitlines() if line.strip())
    return Family(tasks=tasks, **parts)


def _titles(block: str, taxonomy: Taxonomy, file: str) -> Iterable[JobTitle]:
    """Read lines such as "81302 advanced CH: dipl. Pflegefachperson HF; ..."."""
    for line in filter(None, map(str.strip, block.splitlines())):
        match = HEAD.match(line)
        category = taxonomy.category(match["code"]) if match else None
        if match is None or category is None:
            raise DataError.at(file, f"'{line[:40]}' is no line of titles")
        code = match["code"]
        level = match["level"] or taxonomy.level(code)
        if level not in taxonomy.levels.labels:
            raise DataError.at(file, f"'{line[:40]}' names no level")
        source = "chosen" if match["level"] else "own"
        for name in match["names"].split(";"):
            forms = parse_title(name.strip())
            yield JobTitle(forms, code, category, level, source, "", match["country"] or "")
