"""A TypeScript client generated from the OpenAPI document calls a real server.

It is compiled with the strictest options, so that a field missing in the document is an error.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.faulty_server import FaultyServer, faulty_server

pytestmark = pytest.mark.server

HERE = Path(__file__).parent
FILES = ("package.json", "package-lock.json", ".npmrc", "tsconfig.json", "client.ts")


def run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def server(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyServer]:
    """A server that admits two ads at a time."""
    folder = tmp_path_factory.mktemp("typescript-server")
    with faulty_server(tiny_folder, folder, max_queued_ads="2", max_batch_ads="2") as server:
        server.release()
        yield server


@pytest.fixture(scope="module")
def client(server: FaultyServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled client; without Node.js tests are skipped, or fail if REQUIRE_NODE is set."""
    if not (shutil.which("node") and shutil.which("npm")):
        message = "the client is generated with node and npm, which are not installed"
        return pytest.fail(message) if os.environ.get("REQUIRE_NODE") else pytest.skip(message)
    folder = tmp_path_factory.mktemp("typescript")
    for name in FILES:
        shutil.copy(HERE / name, folder)
    (folder / "openapi.json").write_bytes(httpx.get(f"{server.address}/openapi.json").content)
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
    run(folder, "npm", "ci", *quiet)
    # A field with a default may be left out of a request.
    options = ("--default-non-nullable=false", "--output", "api.ts")
    run(folder, "npx", "openapi-typescript", "openapi.json", *options)
    run(folder, "npx", "tsc")
    return folder / "built" / "client.js"


def test_generated_client_gets_answers_and_typed_errors(client: Path, server: FaultyServer) -> None:
    run(client.parent, "node", str(client), server.address)


def test_generated_client_gets_retry_after(client: Path, server: FaultyServer) -> None:
    [held] = server.send_behind_held()
    run(client.parent, "node", str(client), server.address, "overload")
    server.release()
    assert held.result().status_code == 200
