"""A TypeScript client that is generated from the OpenAPI document calls the real server.

Compiled as strictly as the compiler can: it fails where the document promises too little.
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
    """A server in whose house there is room for two ads."""
    folder = tmp_path_factory.mktemp("typescript-server")
    with faulty_server(tiny_folder, folder, max_queued_ads="2", max_batch_ads="2") as server:
        server.release()
        yield server


@pytest.fixture(scope="module")
def client(server: FaultyServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the compiled client; without Node.js, skip, or fail where CI insists."""
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


def test_a_generated_client_gets_answers_and_typed_errors(
    client: Path, server: FaultyServer
) -> None:
    run(client.parent, "node", str(client), server.address)


def test_a_generated_client_is_told_when_to_come_again(client: Path, server: FaultyServer) -> None:
    [held] = server.send_behind_held()
    run(client.parent, "node", str(client), server.address, "overload")
    server.release()
    assert held.result().status_code == 200
