import shutil
from pathlib import Path

import pytest


@pytest.fixture
def folder(tiny_folder, tmp_path) -> Path:
    """A copy of the tiny checkpoint that a test may change."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
