"""The private parts of libraries that the code uses: each is listed with its reason, and exists.

The list is a table in docs/architecture.md. A release of a library that drops one of its names
fails here, with the table's advice, and not first in production.
"""

import ast
import builtins
import importlib
import inspect
import pkgutil
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.testclient import TestClient
from transformers import BertConfig

from tests.docs.pages import ARCHITECTURE, ROOT

(TABLE,) = ARCHITECTURE.table("hook", "where", "why", "when it goes", "noticed by")
NAMES = {
    name: set(re.findall(r"`(app/[\w/.]+)`", row[1]))
    for row in TABLE
    for name in re.findall(r"`([A-Za-z_]+(?:\.\w+)+)`", row[0])
}
"""Every importable name of the table, with the modules that use it."""

WORDS = {
    word: set(re.findall(r"`(app/[\w/.]+)`", row[1]))
    for row in TABLE
    for word in re.findall(r"`(\w+)`", row[0])
}
"""Names in the table that are no path to import: keys, methods, words of a message."""

DOCUMENTED = {"_exit"}
"""Private by its name alone: `os._exit` is documented."""

SET_BY_PYTHON = {"_abc_impl", "_is_protocol", "_is_runtime_protocol"}
"""What abstract classes and protocols have, each of its own."""

INTERNAL = (
    "torch.nn.attention.varlen",
    "transformers.configuration_utils",
    "transformers.trainer_pt_utils",
    "typer.core",
    "uvicorn.protocols",
)
"""Modules that no documentation promises, though their names have no underscore."""


def resolved(name: str) -> object:
    """Import what a dotted name leads to; attributes of instances count where a class sets them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing Ray gives warnings of its own libraries
        try:
            return pkgutil.resolve_name(name)
        except AttributeError:
            owner, _, attribute = name.rpartition(".")
            kind = pkgutil.resolve_name(owner)
            if not inspect.isclass(kind):
                raise
            set_here = rf"\bself\.{attribute}\b.*=|^    {attribute}: "
            if not re.search(set_here, source_of(kind), flags=re.M):
                raise
            return None


def source_of(kind: type) -> str:
    """Return the source of a class and its bases, where attributes of instances are set."""
    return "".join(inspect.getsource(one) for one in kind.__mro__ if one is not object)


@pytest.mark.parametrize("name", NAMES)
def test_a_listed_hook_exists(name):
    resolved(name)


def test_every_row_says_where_why_what_then_and_who_notices():
    for row in TABLE:
        assert all(row), row
        assert re.search(r"`app/", row[1]), row
        assert re.fullmatch(r"`tests/[\w/]+\.py`", row[4]), row


def modules() -> dict[str, ast.Module]:
    """Return the code of every module by its path from the root."""
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "app").rglob("*.py"))
    }


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name.strip("_") != ""


def bound(tree: ast.AST) -> set[str]:
    """Return every name that a module gives to something of its own."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def foreign(tree: ast.AST) -> set[str]:
    """Return the names under which a module has other libraries' modules and objects."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {(one.asname or one.name).split(".")[0] for one in node.names
                      if one.name.split(".")[0] != "app"}  # fmt: skip
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] != "app":
            names |= {one.asname or one.name for one in node.names}
    return names


def root(node: ast.expr) -> str:
    """Return the name that a chain of attributes and items begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def uses(tree: ast.Module, own: set[str]) -> Iterator[str]:
    """Give the last part of every private name of a library that a module's text uses.

    Args:
        tree: the module.
        own: the names that the project's own code has given.
    """
    libraries = foreign(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module[:3] != "app":
            if node.module.startswith(INTERNAL) or any(map(is_private, node.module.split("."))):
                yield from (one.name for one in node.names)
            yield from (one.name for one in node.names if is_private(one.name))
        elif isinstance(node, ast.Import):
            for one in node.names:
                if one.name.startswith(INTERNAL) or any(map(is_private, one.name.split("."))):
                    yield one.name.rpartition(".")[2]
        elif isinstance(node, ast.Attribute):
            is_operator = ast.unparse(node.value).startswith("torch.ops.")
            if is_operator or (is_private(node.attr) and node.attr not in own | DOCUMENTED):
                yield node.attr
        elif isinstance(node, ast.Constant) and node.value in TRANSFORMERS_KEYS:
            yield str(node.value)
        if isinstance(node, ast.Assign | ast.AugAssign | ast.Delete):
            targets = [node.target] if isinstance(node, ast.AugAssign) else node.targets
            for target in targets:
                # An item or attribute of a library's module is replaced.
                base = target.value if isinstance(target, ast.Subscript) else target
                if isinstance(base, ast.Attribute) and root(base) in libraries - {"os", "sys"}:
                    yield base.attr


TRANSFORMERS_KEYS = {key for key in BertConfig().to_dict() if is_private(key)}


def overridden() -> Iterator[tuple[str, str]]:
    """Give every private method or attribute of a library's class that one of ours replaces."""
    for found in pkgutil.walk_packages([str(ROOT / "app")], "app."):
        if found.name.endswith("__main__"):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module(found.name)
        for kind in vars(module).values():
            if not inspect.isclass(kind) or kind.__module__ != found.name:
                continue
            others = [one for one in kind.__mro__[1:] if one.__module__.split(".")[0] != "app"]
            for name in filter(is_private, vars(kind).keys() - SET_BY_PYTHON):
                given = [one for one in others if name in vars(one)]
                if any(one.__module__ not in sys.stdlib_module_names for one in given):
                    yield str(Path(inspect.getfile(kind)).relative_to(ROOT)), name


def listed(name: str) -> set[str]:
    """Return the modules in which a private name may be used, as the table says."""
    paths = [where for full, where in NAMES.items() if name in full.split(".")]
    return set().union(*paths, WORDS.get(name, set()))


def test_every_private_name_that_the_code_uses_is_listed():
    trees = modules()
    own = set(dir(builtins)).union(*map(bound, trees.values()))
    found = {(path, name) for path, tree in trees.items() for name in uses(tree, own)}
    assert len({name for _, name in found}) > 5
    missing = {(path, name) for path, name in found if path not in listed(name)}
    assert not missing


def test_every_private_part_that_a_class_replaces_is_listed():
    found = set(overridden())
    assert len(found) > 3
    missing = {(path, name) for path, name in found if path not in listed(name)}
    assert not missing


def test_the_route_of_a_request_stands_in_its_scope():
    app = FastAPI()

    @app.get("/ads/{number}")
    async def ad(request: Request) -> str:
        return str(request.scope["route"].path)

    assert TestClient(app).get("/ads/7").json() == "/ads/{number}"


def test_the_documentation_has_one_script_and_its_files_are_installed():
    page = bytes(get_swagger_ui_html(openapi_url="openapi.json", title="").body).decode()
    assert page.count("<script>") == 1
    static = Path(str(pkgutil.resolve_name("fastapi_offline").__file__)).parent / "static"
    assert {"swagger-ui-bundle.js", "swagger-ui.css"} <= {one.name for one in static.iterdir()}


def test_ray_knows_the_methods_that_replicas_have():
    replica = resolved("ray.serve._private.replica")
    assert resolved("ray.serve._private.replica.SERVE_BUILD_ASGI_APP_METHOD") == (
        "__serve_build_asgi_app__"
    )
    assert "self._callable.__del__" in inspect.getsource(replica)
    proxies = resolved("ray.serve._private.constants")
    assert '"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"' in inspect.getsource(proxies)


def test_uvicorn_looks_its_protocol_up_under_the_name_that_is_replaced():
    assert "auto" in resolved("uvicorn.config.HTTP_PROTOCOLS")


def test_a_cpu_without_memory_is_recognised_by_the_word_of_torch():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert "DefaultCPUAllocator" in str(caught.value)


def test_configurations_hold_where_they_were_loaded_from():
    assert "_name_or_path" in BertConfig().to_dict()


def test_the_trainer_marks_the_configuration_of_its_model():
    trainer = resolved("transformers.Trainer")
    assert "self.model.config.use_cache = " in inspect.getsource(trainer)


def test_typer_reads_a_commands_signature():
    utils = resolved("typer.utils")
    assert "inspect.signature(" in inspect.getsource(utils)
