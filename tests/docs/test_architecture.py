"""The tables of rooms in the architecture page describe the folders that there are."""

import ast

import pytest

from tests.docs.pages import ARCHITECTURE, ROOT


def rooms() -> dict[str, tuple[str, str]]:
    """Return purpose and imports of each room by its path from the root, as both tables say."""
    top, serving = ARCHITECTURE.table("room", "purpose", "may import")
    return {
        f"{parent}/{room.strip('`').rstrip('/')}": (purpose, imports)
        for parent, rows in (("app", top), ("app/serving", serving))
        for room, purpose, imports in rows
    }


def folders(parent: str) -> set[str]:
    return {f"{parent}/{path.parent.name}" for path in (ROOT / parent).glob("*/__init__.py")}


def test_the_tables_name_the_rooms_that_there_are():
    assert set(rooms()) == folders("app") | folders("app/serving")


@pytest.mark.parametrize("room", rooms())
def test_a_room_says_its_purpose_as_the_table_does(room):
    """A package that hands on names has a docstring for those who import it."""
    purpose, _ = rooms()[room]
    tree = ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8"))
    docstring = ast.get_docstring(tree)
    assert docstring
    if len(tree.body) == 1:
        # The table refers to the other table where the docstring cannot.
        assert " ".join(docstring.split()).startswith(purpose.removesuffix(", see below"))


def test_a_room_may_import_rooms_that_there_are():
    names = {path.rpartition("/")[2] for path in rooms()}
    for room, (_, imports) in rooms().items():
        if imports in ("nothing of `app`", "all", "the six files above"):
            continue
        words = imports.replace("(the engine is handed in)", "").replace(";", ",").split(",")
        first = {word.split()[0] for word in words}
        assert first <= names, f"{room}: {first - names}"


def test_every_step_of_an_ads_way_is_numbered():
    (steps,) = ARCHITECTURE.table("step", "module", "what happens")
    assert [int(step) for step, *_ in steps] == [*range(1, len(steps) + 1)]


def test_the_glossary_is_in_order():
    (terms,) = ARCHITECTURE.table("term", "meaning")
    names = [term for term, _ in terms]
    assert names == sorted(names)
