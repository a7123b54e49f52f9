"""Private names of libraries that the code uses are listed with a reason, and exist.

The list is a table in docs/architecture.md. If a release of a library drops one of the names, a
test fails, and the table says what to do.
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
"""The importable names of the table, each with the modules that use it."""

WORDS = {
    word: set(re.findall(r"`(app/[\w/.]+)`", row[1]))
    for row in TABLE
    for word in re.findall(r"`(\w+)`", row[0])
}
"""Other names in the table, each with its modules: keys, methods, words of a message."""

DOCUMENTED = {"_exit"}
"""Names with an underscore that are documented, such as `os._exit`."""

SET_BY_PYTHON = {"_abc_impl", "_is_protocol", "_is_runtime_protocol"}
"""Attributes that Python sets on every abstract class and protocol."""

INTERNAL = (
    "torch.nn.attention.varlen",
    "transformers.configuration_utils",
    "transformers.trainer_pt_utils",
    "typer.core",
    "uvicorn.protocols",
)
"""Undocumented modules whose names have no underscore."""


def resolved(name: str) -> object:
    """Import the object with a dotted name; None for an attribute that a class sets on instances.

    Raises:
        AttributeError: there is no such name.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from Ray's own dependencies
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
    """Return the source of a class and its bases."""
    return "".join(inspect.getsource(one) for one in kind.__mro__ if one is not object)


@pytest.mark.parametrize("name", NAMES)
def test_listed_hook_exists(name):
    resolved(name)


def test_rows_of_the_table_are_complete():
    for row in TABLE:
        assert all(row), row
        assert re.search(r"`app/", row[1]), row
        assert re.fullmatch(r"`tests/[\w/]+\.py`", row[4]), row


def modules() -> dict[str, ast.Module]:
    """Parse every module of `app`, by its path from the root."""
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "app").rglob("*.py"))
    }


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name.strip("_") != ""


def defined_names(tree: ast.AST) -> set[str]:
    """Return every name that a module defines or assigns."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def library_names(tree: ast.AST) -> set[str]:
    """Return the names under which a module imports from libraries."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {(one.asname or one.name).split(".")[0] for one in node.names
                      if one.name.split(".")[0] != "app"}  # fmt: skip
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] != "app":
            names |= {one.asname or one.name for one in node.names}
    return names


def first_name(node: ast.expr) -> str:
    """Return the name at the start of a chain of attributes and items, or an empty string."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def private_uses(tree: ast.Module, own: set[str]) -> Iterator[str]:
    """Yield the last part of every private library name that a module uses.

    Args:
        tree: the parsed module.
        own: names that the project defines itself.
    """
    libraries = library_names(tree)
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
                # Assigning to a library's attribute or item replaces it.
                base = target.value if isinstance(target, ast.Subscript) else target
                if isinstance(base, ast.Attribute) and first_name(base) in libraries - {
                    "os",
                    "sys",
                }:
                    yield base.attr


TRANSFORMERS_KEYS = {key for key in BertConfig().to_dict() if is_private(key)}


def overridden() -> Iterator[tuple[str, str]]:
    """Yield the module and name of each private member of a library that a class overrides."""
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
    """Return the modules that may use a private name, by the table."""
    paths = [where for full, where in NAMES.items() if name in full.split(".")]
    return set().union(*paths, WORDS.get(name, set()))


def test_private_names_in_use_are_listed():
    trees = modules()
    own = set(dir(builtins)).union(*map(defined_names, trees.values()))
    found = {(path, name) for path, tree in trees.items() for name in private_uses(tree, own)}
    assert len({name for _, name in found}) > 5
    missing = {(path, name) for path, name in found if path not in listed(name)}
    assert not missing


def test_overridden_private_members_are_listed():
    found = set(overridden())
    assert len(found) > 3
    missing = {(path, name) for path, name in found if path not in listed(name)}
    assert not missing


def test_request_scope_holds_the_route():
    app = FastAPI()

    @app.get("/ads/{number}")
    async def ad(request: Request) -> str:
        return str(request.scope["route"].path)

    assert TestClient(app).get("/ads/7").json() == "/ads/{number}"


def test_swagger_page_has_one_script_and_its_files_are_installed():
    page = bytes(get_swagger_ui_html(openapi_url="openapi.json", title="").body).decode()
    assert page.count("<script>") == 1
    static = Path(str(pkgutil.resolve_name("fastapi_offline").__file__)).parent / "static"
    assert {"swagger-ui-bundle.js", "swagger-ui.css"} <= {one.name for one in static.iterdir()}


def test_ray_calls_the_methods_that_replicas_define():
    replica = resolved("ray.serve._private.replica")
    assert resolved("ray.serve._private.replica.SERVE_BUILD_ASGI_APP_METHOD") == (
        "__serve_build_asgi_app__"
    )
    assert "self._callable.__del__" in inspect.getsource(replica)
    proxies = resolved("ray.serve._private.constants")
    assert '"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"' in inspect.getsource(proxies)


def test_uvicorn_looks_up_its_protocol_under_auto():
    assert "auto" in resolved("uvicorn.config.HTTP_PROTOCOLS")


def test_torch_names_its_cpu_allocator_when_memory_runs_out():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert "DefaultCPUAllocator" in str(caught.value)


def test_transformers_config_holds_its_origin():
    assert "_name_or_path" in BertConfig().to_dict()


def test_trainer_sets_use_cache_on_the_configuration():
    trainer = resolved("transformers.Trainer")
    assert "self.model.config.use_cache = " in inspect.getsource(trainer)


def test_typer_reads_the_signature_of_a_command():
    utils = resolved("typer.utils")
    assert "inspect.signature(" in inspect.getsource(utils)
