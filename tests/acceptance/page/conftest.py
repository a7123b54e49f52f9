"""One browser and the servers of the pages."""

import pytest

from tests.support.browser import running_chromium
from tests.support.server_process import running_server


@pytest.fixture(scope="package")
def chromium(tmp_path_factory):
    with running_chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="package")
def server(chromium, tiny_folder, tmp_path_factory):
    log = tmp_path_factory.mktemp("page") / "server.log"
    with running_server(tiny_folder, log, max_body_bytes="4096") as address:
        yield address


@pytest.fixture(scope="package")
def swayed(chromium, sensitive_folder, tmp_path_factory):
    """The address of a server whose predictions depend on every sentence."""
    log = tmp_path_factory.mktemp("swayed") / "server.log"
    with running_server(sensitive_folder, log) as address:
        yield address
