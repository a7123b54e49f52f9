"""The tables of rooms in the architecture page describe the folders that there are."""

import ast

import pytest

from tests.docs.pages import ARCHITECTURE
from tests.support.repository import ROOT
from tests.support.rooms import rooms, serving_files

ROOMS = rooms()


def folders(parent: str) -> set[str]:
    return {f"{parent}/{path.parent.name}" for path in (ROOT / parent).glob("*/__init__.py")}


def test_the_tables_name_the_rooms_that_there_are():
    assert {name.replace(".", "/") for name in ROOMS} == folders("app") | folders("app/serving")


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_its_purpose_as_the_table_does(room):
    """A package that hands on names has a docstring for those who import it."""
    path = ROOT / room.replace(".", "/") / "__init__.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstring = ast.get_docstring(tree)
    assert docstring
    if len(tree.body) == 1:
        # The table refers to the other table where the docstring cannot.
        purpose = ROOMS[room].purpose.removesuffix(", see below")
        assert " ".join(docstring.split()).startswith(purpose)


def test_a_room_may_import_rooms_that_there_are():
    names = {*ROOMS, *serving_files()}
    for room in ROOMS.values():
        assert room.imports | room.imports_later <= names


def test_every_step_of_an_ads_way_is_numbered():
    (steps,) = ARCHITECTURE.table("step", "module", "what happens")
    assert [int(step) for step, *_ in steps] == [*range(1, len(steps) + 1)]


def test_the_glossary_is_in_order():
    (terms,) = ARCHITECTURE.table("term", "meaning")
    names = [term for term, _ in terms]
    assert names == sorted(names)
