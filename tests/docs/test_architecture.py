"""The tables of docs/architecture.md against the folders of `app`."""

import ast

import pytest

from tests.docs.pages import ARCHITECTURE
from tests.support.repository import ROOT
from tests.support.rooms import rooms, serving_files

ROOMS = rooms()


def folders(parent: str) -> set[str]:
    return {f"{parent}/{path.parent.name}" for path in (ROOT / parent).glob("*/__init__.py")}


def test_tables_name_every_room():
    assert {name.replace(".", "/") for name in ROOMS} == folders("app") | folders("app/serving")


@pytest.mark.parametrize("room", ROOMS)
def test_room_docstring_equals_its_purpose_in_the_table(room):
    """Packages that export names have a docstring of their own."""
    path = ROOT / room.replace(".", "/") / "__init__.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstring = ast.get_docstring(tree)
    assert docstring
    if len(tree.body) == 1:
        # "see below" refers to the second table.
        purpose = ROOMS[room].purpose.removesuffix(", see below")
        assert " ".join(docstring.split()).startswith(purpose)


def test_allowed_imports_name_existing_rooms():
    names = {*ROOMS, *serving_files()}
    for room in ROOMS.values():
        assert room.imports | room.imports_later <= names


def test_steps_of_one_ad_are_numbered():
    (steps,) = ARCHITECTURE.table("step", "module", "what happens")
    assert [int(step) for step, *_ in steps] == [*range(1, len(steps) + 1)]


def test_glossary_is_sorted():
    (terms,) = ARCHITECTURE.table("term", "meaning")
    names = [term for term, _ in terms]
    assert names == sorted(names)
