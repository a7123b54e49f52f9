"""Links, paths and modules named on the pages exist."""

import re
import tomllib
from importlib.util import find_spec

import pytest

from tests.docs.pages import PAGES, ROOT

REMOTE = ("https://", "http://", "mailto:")


@pytest.mark.parametrize("name", PAGES)
def test_links_resolve(name):
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
def test_headings_have_different_anchors(name):
    # The changelog repeats its headings for every release, and no page links to them.
    if name != "CHANGELOG.md":
        anchors = PAGES[name].anchors
        assert len(set(anchors)) == len(anchors)


@pytest.mark.parametrize("name", PAGES)
def test_paths_and_modules_named_on_pages_exist(name):
    # The changelog also names files of earlier releases.
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


def test_readme_links_to_every_page():
    reached = {link.partition("#")[0] for link in PAGES["README.md"].links}
    assert PAGES.keys() - reached == {"README.md"}


def test_readme_is_short():
    assert len(PAGES["README.md"].text.splitlines()) <= 150


def test_package_and_image_contain_the_readme():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["readme"] == "README.md"
    # The build reads the file that the project names.
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "!README.md" in ignored
