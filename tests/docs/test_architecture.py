"""The tables of docs/architecture.md against the folders of `app`."""

import ast

import pytest

from tests.docs.pages import ARCHITECTURE, ROOT


def rooms() -> dict[str, tuple[str, str]]:
    """Return each room's purpose and allowed imports from both tables, by its path."""
    top, serving = ARCHITECTURE.table("room", "purpose", "may import")
    return {
        f"{parent}/{room.strip('`').rstrip('/')}": (purpose, imports)
        for parent, rows in (("app", top), ("app/serving", serving))
        for room, purpose, imports in rows
    }


def folders(parent: str) -> set[str]:
    return {f"{parent}/{path.parent.name}" for path in (ROOT / parent).glob("*/__init__.py")}


def test_tables_name_every_room():
    assert set(rooms()) == folders("app") | folders("app/serving")


@pytest.mark.parametrize("room", rooms())
def test_room_docstring_equals_its_purpose_in_the_table(room):
    """Packages that export names have a docstring of their own."""
    purpose, _ = rooms()[room]
    tree = ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8"))
    docstring = ast.get_docstring(tree)
    assert docstring
    if len(tree.body) == 1:
        # "see below" refers to the second table.
        assert " ".join(docstring.split()).startswith(purpose.removesuffix(", see below"))


def test_allowed_imports_name_existing_rooms():
    names = {path.rpartition("/")[2] for path in rooms()}
    for room, (_, imports) in rooms().items():
        if imports in ("nothing of `app`", "all", "the six files above"):
            continue
        words = imports.replace("(the engine is handed in)", "").replace(";", ",").split(",")
        first = {word.split()[0] for word in words}
        assert first <= names, f"{room}: {first - names}"


def test_steps_of_one_ad_are_numbered():
    (steps,) = ARCHITECTURE.table("step", "module", "what happens")
    assert [int(step) for step, *_ in steps] == [*range(1, len(steps) + 1)]


def test_glossary_is_sorted():
    (terms,) = ARCHITECTURE.table("term", "meaning")
    names = [term for term, _ in terms]
    assert names == sorted(names)
