"""One real server for the tests with hostile requests, with API keys and small limits."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.model.checkpoint import save_checkpoint
from app.model.checkpoint_verification import UNKNOWN_CHARACTER
from tests.acceptance.hostile.wire import KEY, Connection, Contract
from tests.conftest import tiny_model
from tests.support.server_process import running_process

MAX_BODY_BYTES = 2 * 2**20
MAX_BATCH_ADS = 32


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile") / "log"


LIMITS = {
    "api_keys": f"{KEY},another-key-of-good-length",
    "max_body_bytes": str(MAX_BODY_BYTES),
    "max_batch_ads": str(MAX_BATCH_ADS),
    # One full batch uses all of it.
    "max_queued_ads": str(MAX_BATCH_ADS),
    "threads": "1",
}


@pytest.fixture(scope="session")
def running(tiny_folder: Path, log: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with running_process(tiny_folder, log, **LIMITS) as running:
        yield running
    assert "Traceback" not in log.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def server(running: tuple[str, subprocess.Popen[bytes]]) -> str:
    return running[0]


@pytest.fixture(scope="session")
def process(running: tuple[str, subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    return running[1]


@pytest.fixture(scope="session")
def contract(server: str) -> Contract:
    return Contract(server)


@pytest.fixture
def connection(server: str) -> Iterator[Connection]:
    with Connection(server) as connection:
        yield connection


@pytest.fixture(scope="session")
def failing_folder(
    tmp_path_factory: pytest.TempPathFactory, tokenizer_files: dict[str, bytes]
) -> Path:
    """A checkpoint that passes verification but whose tokenizer fails on unknown letters."""
    tokenizer = json.loads(tokenizer_files["tokenizer.json"])
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary[UNKNOWN_CHARACTER] = len(vocabulary)
    tokenizer["model"]["unk_token"] = "[NONE]"
    folder = tmp_path_factory.mktemp("failing") / "failing"
    files = tokenizer_files | {"tokenizer.json": json.dumps(tokenizer).encode()}
    save_checkpoint(folder, tiny_model(), files, {"note": "fails"}, "# failing\n")
    return folder
