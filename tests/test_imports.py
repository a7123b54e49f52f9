"""Imports point one way: each room imports what the tables of docs/architecture.md allow."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.support.import_graph import ImportGraph
from tests.support.repository import ROOT
from tests.support.rooms import Room, rooms, serving_files

TENSORS = {"torch", "transformers", "safetensors", "accelerate"}
HTTP = {"fastapi", "starlette", "uvicorn", "httpx"}

ROOMS = rooms()

WITH_TORCH = {"app.model", "app.engine", "app.training", "app.bulk", "app.bench", "app.cli"}
"""Rooms with modules that load torch when they are imported."""

WITH_RAY = {
    "app.serving.cluster.replica_client",
    "app.serving.cluster.engine_replica",
    "app.serving.cluster.ingress",
    "app.serving.cluster.application",
    "app.bulk.backfill",
    "app.bulk.ray_pool",
}
"""Modules that need the extra `ray`; without it all others work."""

NOT_LOADED_TO_SERVE = {
    "accelerate", "datasets", "matplotlib", "pandas", "PIL", "pyarrow", "scipy", "sklearn",
    "torchvision", "httpx", "requests", "websockets", "hypothesis", "pytest", "trio", "zmq", "ray",
    "grpc", "app.training.trainer", "app.bulk", "app.bench", "app.client", "app.cli.tables",
    "app.model.state_dict_import", "app.model.base_encoder", "app.serving.workers.supervisor",
    "app.serving.cluster", "app.data",
}  # fmt: skip
"""Modules that a single serving process never loads, although they are installed."""


@pytest.fixture(scope="module")
def graph() -> ImportGraph:
    return ImportGraph(ROOT)


def room_of(module: str) -> str:
    """Return the package of a module's room; modules outside a room are their own."""
    return max((one for one in ROOMS if _within(module, one)), key=len, default=module)


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def forbidden(graph: ImportGraph, room: Room) -> list[str]:
    """Return the imports of a room's modules that its row of the tables does not allow."""
    found = []
    for module in graph.imports:
        if room_of(module) != room.package:
            continue
        for at_start in (True, False):
            allowed = room.imports if at_start else room.imports | room.imports_later
            found += [
                f"{module} imports {other}"
                for other in sorted(graph.used(module, at_start=at_start))
                if room_of(other) != room.package
                and not any(_within(other, one) for one in allowed)
            ]
    return found


def test_every_module_lies_in_a_room(graph):
    loose = {name for name in graph.imports if name not in ("app", "app.__main__")} - {
        name for name in graph.imports if room_of(name) in ROOMS
    }
    assert not loose, f"move {sorted(loose)} to a room of docs/architecture.md"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_its_row_allows(graph, room):
    assert not forbidden(graph, ROOMS[room])


def test_the_loose_files_of_serving_import_only_earlier_ones(graph):
    files = serving_files()
    assert {name for name in graph.imports if room_of(name) == "app.serving"} == {
        "app.serving",
        *files,
    }
    wrong = [
        f"{name} imports {other}"
        for place, name in enumerate(files)
        for other in sorted(graph.used(name))
        if other in files[place:]
    ]
    assert not wrong


def test_an_import_against_the_tables_is_found(tmp_path):
    for room in ("core", "text", "serving/scheduling", "serving/api"):
        folder = tmp_path / "app" / room
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
    (tmp_path / "app" / "__init__.py").touch()
    (tmp_path / "app" / "core" / "up.py").write_text("def f():\n    from app.text import down\n")
    (tmp_path / "app" / "text" / "down.py").write_text("import app.core.up\n")
    (tmp_path / "app" / "serving" / "scheduling" / "late.py").write_text(
        "from app.serving.api import early\n"
    )
    (tmp_path / "app" / "serving" / "api" / "early.py").write_text("import app.core.up\n")
    graph = ImportGraph(tmp_path)
    assert forbidden(graph, ROOMS["app.core"]) == ["app.core.up imports app.text.down"]
    assert forbidden(graph, ROOMS["app.text"]) == []
    assert "app.serving.scheduling.late imports app.serving.api.early" in forbidden(
        graph, ROOMS["app.serving.scheduling"]
    )
    assert forbidden(graph, ROOMS["app.serving.api"]) == []


def test_no_imports_form_a_cycle(graph):
    try:
        TopologicalSorter({name: graph.used(name) for name in graph.imports}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("name", ["micro_batcher", "lanes"])
def test_batching_policy_knows_neither_tensors_nor_http(graph, name):
    for one in graph.reached(f"app.serving.scheduling.{name}"):
        assert not graph.foreign(one) & (TENSORS | HTTP), one


@pytest.mark.parametrize("room", [room for room in ROOMS if room not in WITH_TORCH])
def test_what_needs_no_torch_does_not_import_it(graph, room):
    for module in graph.imports:
        if room_of(module) != room:
            continue
        loaded = graph.reached(module, at_start=True)
        heavy = {one for one in loaded if graph.foreign(one, at_start=True) & TENSORS}
        assert not heavy, f"{module} loads {heavy}; import in a function or for types only"


def test_the_command_line_starts_without_torch(graph):
    loaded = graph.reached("app.cli", at_start=True)
    assert not {one for one in loaded if graph.foreign(one, at_start=True) & TENSORS}


def test_the_supervisor_serves_no_http(graph):
    loaded = graph.reached("app.serving.workers.supervisor", at_start=True)
    assert not {one for one in loaded if graph.foreign(one, at_start=True) & HTTP}


def loaded_by(code: str) -> set[str]:
    """Run code in a new interpreter; return the names of all modules that it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["frontend", "supervisor"])
def test_front_ends_and_supervisor_load_no_torch(module):
    """Libraries that they use do not load it either."""
    loaded = loaded_by(f"import app.serving.workers.{module}")
    assert f"app.serving.workers.{module}" in loaded
    assert not TENSORS & loaded


def test_a_serving_process_loads_nothing_it_does_not_need(tiny_folder):
    loaded = loaded_by(
        "import app.cli, app.serving.server.single_process\n"
        "from app.serving.inference.loading import load_checkpoint\n"
        "from app.serving.settings import load_settings\n"
        f"load_checkpoint(load_settings({{'model': {str(tiny_folder)!r}, 'device': 'cpu'}}, {{}}))"
    )
    needed = {"app.engine", "app.serving.server.single_process", "transformers.models.bert"}
    assert {*needed, "torch"} <= loaded
    assert not NOT_LOADED_TO_SERVE & loaded


def test_the_client_needs_only_httpx_and_pydantic(graph):
    parts = {name for name in graph.imports if room_of(name) == "app.client"}
    foreign = {one for part in graph.reached("app.client") for one in graph.foreign(part)}
    # pydantic depends on the last two.
    allowed = {"httpx", "numpy", "pydantic", "pydantic_core", "typing_extensions"}
    assert parts
    assert foreign - set(sys.stdlib_module_names) <= allowed
    # numpy is imported for types only.
    at_start = graph.reached("app.client", at_start=True)
    assert not any("numpy" in graph.foreign(part, at_start=True) for part in at_start)


def test_only_loading_and_the_command_line_import_the_engine(graph):
    users = {
        name
        for name in graph.imports
        for other in graph.used(name)
        if _within(other, "app.engine") and not _within(name, "app.engine")
    }
    assert {one for one in users if not _within(one, "app.cli")} == {
        "app.serving.inference.loading"
    }


def test_ray_is_imported_only_for_several_machines(graph):
    assert {name for name in graph.imports if "ray" in graph.foreign(name)} == WITH_RAY


def test_nothing_else_loads_ray_when_it_is_imported(graph):
    """A command that is told to use it may import it in a function."""
    wrong = [
        f"{name} loads {other}"
        for name in graph.imports
        if name not in WITH_RAY
        for other in sorted(graph.reached(name, at_start=True))
        if "ray" in graph.foreign(other, at_start=True)
    ]
    assert not wrong


def test_no_module_uses_relative_imports():
    for path in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path
