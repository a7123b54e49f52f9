"""What the pages name exists: linked files, headings, and paths and modules in the text."""

import re
import tomllib
from importlib.util import find_spec

import pytest

from tests.docs.pages import PAGES, ROOT

REMOTE = ("https://", "http://", "mailto:")


@pytest.mark.parametrize("name", PAGES)
def test_every_link_of_a_page_resolves(name):
    page = PAGES[name]
    for link in page.links:
        if link.startswith(REMOTE):
            continue
        target, _, anchor = link.partition("#")
        path = ((ROOT / name).parent / target).resolve() if target else ROOT / name
        assert path.exists(), f"{link}: there is no {path}"
        if anchor:
            other = PAGES[str(path.relative_to(ROOT))]
            assert anchor in other.anchors, f"{link}: {other.name} has no such heading"


@pytest.mark.parametrize("name", PAGES)
def test_a_heading_has_an_anchor_of_its_own(name):
    # A changelog has the same headings for every release, and nobody links to them.
    if name != "CHANGELOG.md":
        anchors = PAGES[name].anchors
        assert len(set(anchors)) == len(anchors)


@pytest.mark.parametrize("name", PAGES)
def test_every_path_and_module_that_a_page_names_exists(name):
    # The changelog also names what there was in earlier releases.
    if name == "CHANGELOG.md":
        return
    text = PAGES[name].text
    folders = r"(?:app|tests|deploy|docs|requirements|\.ci)"
    in_text = re.findall(rf"`({folders}/[\w./-]+)`", text)
    in_commands = re.findall(rf"(?<![\w./-])({folders}/[\w./-]+\.\w+)", text)
    for path in {*in_text, *in_commands}:
        assert (ROOT / path).exists(), f"{name}: there is no {path}"
    for module in re.findall(r"python -m ([\w.]+)", text):
        assert find_spec(module), f"{name}: there is no module {module}"
    for module, function in re.findall(r"\b(app(?:\.\w+)+):(\w+)", text):
        path = ROOT / module.replace(".", "/")
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        assert re.search(rf"\b{function}\b", file.read_text(encoding="utf-8")), module


def test_every_page_is_reached_from_the_readme():
    reached = {link.partition("#")[0] for link in PAGES["README.md"].links}
    assert PAGES.keys() - reached == {"README.md"}


def test_the_readme_is_short():
    assert len(PAGES["README.md"].text.splitlines()) <= 150


def test_the_package_and_the_image_take_the_readme_along():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["readme"] == "README.md"
    # Where the project is built, the file that it names has to be there.
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "!README.md" in ignored
