"""One real server for the tests of the clients and of `predict --server`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faulty_server import FaultyServer, faulty_server

KEY = "a-key-of-good-length"


@pytest.fixture(scope="session")
def server(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyServer]:
    """A server with an API key, small limits and a faulty engine."""
    folder = tmp_path_factory.mktemp("contract")
    with faulty_server(
        tiny_folder,
        folder,
        api_keys=KEY,
        max_batch_ads="8",
        max_queued_ads="8",
        max_body_bytes="4096",
        client_seconds="2",
    ) as server:
        yield server
