"""The rooms of `app/` and what each may import, read from the tables of docs/architecture.md."""

import re
from dataclasses import dataclass

from tests.docs.pages import ARCHITECTURE

HEADER = ("room", "purpose", "may import")


@dataclass(frozen=True)
class Room:
    """A folder of `app/` or of `app/serving/`."""

    package: str
    """Dotted name, e.g. `app.serving.api`."""

    purpose: str

    imports: frozenset[str]
    """Packages that its modules may import."""

    imports_later: frozenset[str] = frozenset()
    """Packages that they may import in a function or for types only."""


def serving_files() -> list[str]:
    """Return the modules that lie loose in `app/serving/`, in the order of their imports."""
    (sentence,) = re.findall(r"^Inside `serving/`: (.*?), then in", ARCHITECTURE.text, re.M | re.S)
    return [f"app.serving.{name}" for name in re.findall(r"`(\w+)`", sentence)]


def rooms() -> dict[str, Room]:
    """Return all rooms by package, as both tables say."""
    top, inside = ARCHITECTURE.table(*HEADER)
    found: dict[str, Room] = {}
    for name, purpose, words in top:
        package = f"app.{_name(name)}"
        now, _, later = re.sub(r"\(.*?\)", "", words).partition(";")
        if words == "all":
            now = ", ".join(_name(row[0]) for row in top)
        found[package] = Room(package, purpose, _named(now), _named(later))
    serving = found["app.serving"]
    for name, purpose, words in inside:
        package = f"app.serving.{_name(name)}"
        before = [] if words == "the six files above" else [found[f"app.serving.{words}"]]
        # A room may import all that the room before it may import.
        imports = frozenset({*serving.imports, *serving_files()}).union(
            *({room.package, *room.imports} for room in before)
        )
        found[package] = Room(package, purpose, imports, serving.imports_later)
    return found


def _name(cell: str) -> str:
    return cell.strip("`").rstrip("/")


def _named(words: str) -> frozenset[str]:
    if words.startswith("nothing"):
        return frozenset()
    listed = words.replace(" and ", ",").split(",")
    return frozenset(f"app.{part.split()[0]}" for part in listed if part.strip())
