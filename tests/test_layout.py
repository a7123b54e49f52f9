"""The code stays easy to find: few files a folder, short files, and each class name once."""

import ast
from collections import Counter

import pytest

from tests.support.repository import ROOT

MODULES = sorted((ROOT / "app").rglob("*.py"))
FOLDERS = sorted({path.parent for path in MODULES})
TEMPLATES = ROOT / "app" / "training" / "demo" / "templates"
"""Text of generated ads, which may be long."""

MAX_MODULES = 14
MAX_LINES = 300


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_folder_has_few_modules_and_says_its_purpose(folder):
    """`__init__` and `__main__` hold no code of their own and are not counted."""
    modules = [path for path in folder.glob("*.py") if not path.stem.startswith("__")]
    assert len(modules) <= MAX_MODULES
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))


def test_no_module_lies_loose_in_the_package():
    assert {path.stem for path in (ROOT / "app").glob("*.py")} <= {"__init__", "__main__"}


def test_no_module_is_longer_than_300_lines():
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in MODULES
        if path.parent != TEMPLATES
    }
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_a_class_name_stands_once_in_the_project():
    names = Counter(
        node.name
        for path in MODULES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []
