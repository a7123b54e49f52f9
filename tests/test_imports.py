"""Imports point one way: a module may use what stands above it in `ORDER`, never what is below."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ORDER = (
    "errors",
    "records",
    "trace",
    "settings",
    "sockets",
    "memory",
    "threads",
    "folder",
    "store",
    "heads",
    "labels",
    "metrics",
    "exposition",
    "scoring",
    "markup",
    "sentences",
    "tokenization",
    "attention",
    "linears",
    "first_tokens",
    "norms",
    "fused",
    "prepacked",
    "model",
    "verification",
    "checkpoint",
    "base",
    "packing",
    "graphs",
    "quantization",
    "engine",
    "lanes",
    "ledger",
    "admission",
    "watchdog",
    "batching",
    "served",
    "loading",
    "framing",
    "channel",
    "broker",
    "remote",
    "service",
    "swapping",
    "explaining",
    "together",
    "replicas",
    "schemas",
    "serving",
    "protocol",
    "logs",
    "client",
    "training",
    "sending",
    "importing",
    "bench",
    "connections",
    "draining",
    "server",
    "link",
    "child",
    "rollout",
    "remote_swapping",
    "engine_process",
    "frontend",
    "supervisor",
    "cluster_proxy",
    "engine_replica",
    "ingress",
    "cluster",
    "cli",
)
"""The rooms of the design, top first; everything under `app/training/` is one room."""

# Training must work without a server, and a checkpoint must not need its training code.
TRAINING_MAY_USE = {
    "errors",
    "records",
    "heads",
    "labels",
    "scoring",
    "tokenization",
    "model",
    "verification",
    "checkpoint",
    "base",
    "training",
}

WITHOUT_TORCH = [
    *ORDER[: ORDER.index("attention")],
    *ORDER[ORDER.index("lanes") : ORDER.index("training")],
    *ORDER[ORDER.index("connections") : ORDER.index("cli")],
]
"""What a front end, a client or a test of policy imports without waiting for torch."""

WITH_RAY = {
    *(
        "app.serving.cluster.replica_client",
        "app.serving.cluster.engine_replica",
        "app.serving.cluster.ingress",
        "app.serving.cluster.application",
    ),
    *("app.bulk.backfill", "app.bulk.ray_pool"),
}
"""What serves on several machines: an extra, without which one machine serves all the same."""

TENSORS = {"torch", "transformers", "safetensors", "accelerate"}
HTTP = {"fastapi", "starlette", "uvicorn", "httpx"}


@dataclass(frozen=True)
class Import:
    """One imported module and when it is imported."""

    name: str
    at_start: bool
    """Runs when the importing module is imported: neither in a function nor for types only."""


def imports_of(tree: ast.AST, package: str, at_start: bool = True) -> Iterator[Import]:
    """Yield every import below a node, those in functions and for types too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, at_start) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            # Each name may be a module of its own.
            yield from (Import(f"{base}.{alias.name}", at_start) for alias in node.names)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                for child in node.body:
                    yield from imports_of(ast.Module([child], []), package, False)
                yield from imports_of(ast.Module(node.orelse, []), package, at_start)
                continue
            yield from imports_of(node, package, at_start and not inside)


class Code:
    """The modules of a package and what each imports."""

    def __init__(self, root: Path, package: str = "app") -> None:
        self.package = package
        self.imports: dict[str, list[Import]] = {}
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            inside = name if is_package else ".".join(parts[:-1])
            tree = ast.parse(path.read_text(encoding="utf-8"))
            self.imports[name] = list(imports_of(tree, inside))

    def module(self, name: str) -> str | None:
        """Return the longest prefix of a dotted name that is a module of the package."""
        while name:
            if name in self.imports:
                return name
            name = name.rpartition(".")[0]
        return None

    def used(self, name: str, *, at_start: bool = False) -> set[str]:
        """Return the package's own modules that a module imports, itself not counted."""
        found = {
            self.module(one.name) for one in self.imports[name] if one.at_start or not at_start
        }
        return {one for one in found if one is not None} - {name, self.package}

    def foreign(self, name: str, *, at_start: bool = False) -> set[str]:
        """Return the top names of everything else that a module imports."""
        return {
            one.name.split(".")[0]
            for one in self.imports[name]
            if (one.at_start or not at_start) and self.module(one.name) is None
        }

    def reached(self, name: str, *, at_start: bool = False) -> set[str]:
        """Return a module and all that it imports, directly or through others."""
        found, left = set(), [name]
        while left:
            if (one := left.pop()) not in found:
                found.add(one)
                left.extend(self.used(one, at_start=at_start))
        return found


def room(module: str) -> str:
    """Return the name a module of the app has in `ORDER`."""
    return module.split(".")[1]


@pytest.fixture(scope="module")
def code() -> Code:
    return Code(ROOT)


def test_each_module_has_its_place(code):
    unplaced = {room(name) for name in code.imports if name != "app"} - set(ORDER)
    assert not unplaced, f"place {sorted(unplaced)} in ORDER of {Path(__file__).name}"


def test_imports_point_up_the_order_only(code):
    place = {name: index for index, name in enumerate(ORDER)}
    wrong = [
        f"{name} imports {other}"
        for name in code.imports
        if name != "app" and room(name) in place
        for other in sorted(code.used(name))
        if room(other) != room(name) and place.get(room(other), 0) > place[room(name)]
    ]
    assert not wrong


def test_no_imports_go_in_a_circle(code):
    try:
        TopologicalSorter({name: code.used(name) for name in code.imports}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_training_uses_no_serving_module(code):
    wrong = [
        f"{name} imports {other}"
        for name in code.imports
        if name.startswith("app.training")
        for other in sorted(code.used(name))
        if room(other) not in TRAINING_MAY_USE
    ]
    assert not wrong


@pytest.mark.parametrize("name", ["batching", "lanes"])
def test_the_batchers_policy_knows_neither_tensors_nor_http(code, name):
    for one in code.reached(f"app.{name}"):
        assert not code.foreign(one) & (TENSORS | HTTP), one


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_what_needs_no_torch_does_not_import_it(code, name):
    modules = [one for one in code.imports if one != "app" and room(one) == name]
    loaded = set().union(*(code.reached(one, at_start=True) for one in modules))
    heavy = {one for one in loaded if code.foreign(one, at_start=True) & TENSORS}
    assert not heavy, f"app.{name} loads {heavy}; import for types or inside a function"


def test_the_supervisor_serves_no_http(code):
    loaded = code.reached("app.serving.workers.supervisor", at_start=True)
    assert not {one for one in loaded if code.foreign(one, at_start=True) & HTTP}


@pytest.mark.parametrize("module", ["frontend", "supervisor"])
def test_importing_it_loads_no_torch(module):
    """By way of a library neither."""
    code = f"import app.{module}, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert f"app.{module}" in done.stdout.split()
    assert not TENSORS & set(done.stdout.split())


UNSERVED = {
    "accelerate", "datasets", "matplotlib", "pandas", "PIL", "pyarrow", "scipy", "sklearn",
    "torchvision", "httpx", "requests", "websockets", "hypothesis", "pytest", "trio", "zmq",
    "app.data.labelled_ads", "app.training.train", "app.bench", "app.client", "app.cli.tables",
    "app.model.state_dict_import", "app.model.base_encoder",
    "app.serving.workers.supervisor", "ray", "grpc", "app.serving.cluster.application", "app.serving.cluster.replica_client", "app.serving.cluster.ingress",
    "app.serving.cluster.engine_replica", "app.serving.cluster.proxy",
}  # fmt: skip
"""What a process that serves alone never loads, though it is installed and others would take it."""


def test_a_serving_process_loads_nothing_it_does_not_serve_with(tiny_folder):
    code = (
        "import sys; from app import cli, server\n"
        "from app.serving.inference.loading import load; from app.serving.settings import load_settings\n"
        f"load(load_settings({{'model': {str(tiny_folder)!r}, 'device': 'cpu'}}, {{}}))\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(done.stdout.split())
    assert {
        "app.engine.engine",
        "app.serving.server.single_process",
        "torch",
        "transformers.models.bert",
    } <= loaded
    assert not UNSERVED & loaded


def test_the_client_knows_the_wire_and_the_errors_only(code):
    parts = {name for name in code.imports if name.startswith("app.client")}
    used = set().union(*map(code.used, parts)) - parts
    assert used - {"app.core.types", "app.core.errors"} == {
        f"app.schemas.{name}"
        for name in (
            *("classify", "fields", "jobposting_response", "model", "ndjson", "problem", "stream"),
        )
    }
    foreign = {one for part in code.reached("app.client") for one in code.foreign(part)}
    # Pydantic brings the last two along.
    allowed = {"httpx", "numpy", "pydantic", "pydantic_core", "typing_extensions"}
    assert foreign - set(sys.stdlib_module_names) <= allowed
    # Numpy is there for types alone.
    at_start = code.reached("app.client", at_start=True)
    assert not any("numpy" in code.foreign(part, at_start=True) for part in at_start)


def test_only_the_command_line_and_the_server_import_the_engine(code):
    users = {name for name in code.imports if "app.engine.engine" in code.used(name)}
    assert users <= {"app.serving.inference.loading", "app.cli.engines", "app.cli.bench"}


def test_ray_is_known_where_several_machines_serve_only(code):
    users = {name for name in code.imports if "ray" in code.foreign(name)}
    assert users == WITH_RAY


def test_nothing_else_loads_what_needs_ray(code):
    # A command that asks for it may import it in a function.
    wrong = [
        f"{name} loads {other}"
        for name in code.imports
        if name not in WITH_RAY
        for other in sorted(code.reached(name, at_start=True))
        if "ray" in code.foreign(other, at_start=True)
    ]
    assert not wrong


def test_no_module_imports_by_a_relative_name():
    for path in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path


def test_the_reader_finds_imports_wherever_they_stand(tmp_path):
    package = tmp_path / "app"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "deep" / "__init__.py").write_text("from . import low\n")
    (package / "deep" / "low.py").write_text("from ..a import x\nfrom app import b\n")
    (package / "a.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from app.b import thing\nelse:\n    import json\n"
        "class C:\n    import app.deep.low\n"
        "def f():\n    async def g():\n        import torch.nn\n"
    )
    (package / "b.py").write_text("import app.a as alias\n")
    code = Code(tmp_path)
    assert code.used("app.a") == {"app.b", "app.deep.low"}
    assert code.used("app.a", at_start=True) == {"app.deep.low"}
    assert code.foreign("app.a") == {"typing", "json", "torch"}
    assert code.foreign("app.a", at_start=True) == {"typing", "json"}
    assert code.used("app.b") == {"app.a"}
    assert code.used("app.deep") == {"app.deep.low"}
    assert code.used("app.deep.low") == {"app.a", "app.b"}
    assert code.reached("app.b", at_start=True) == {"app.b", "app.a", "app.deep.low"}
