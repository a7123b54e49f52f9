"""The client works where only httpx and pydantic are installed, as docs/client.md says."""

import os
import re
import subprocess
import sys
from importlib.metadata import Distribution, distribution

from tests.support.repository import ROOT

PROGRAM = """
import sys
from app.client import AsyncDoppelkopfClient, DoppelkopfClient, UnreachableError, Retries

with DoppelkopfClient("http://127.0.0.1:9", retries=Retries(tries=1)) as client:
    try:
        client.classify("Koch")
    except UnreachableError as error:
        print(error)
print(sorted({"torch", "numpy", "fastapi", "starlette", "uvicorn"} & set(sys.modules)))
"""


def needed(*names: str) -> list[Distribution]:
    """Return these packages and all their dependencies."""
    found: dict[str, Distribution] = {}
    left = list(names)
    while left:
        if (name := left.pop()) not in found:
            found[name] = distribution(name)
            # Conditional requirements are of extras or of older Pythons.
            needs = [need for need in found[name].requires or () if ";" not in need]
            left += [re.match(r"[\w.-]+", need).group() for need in needs]
    return list(found.values())


def test_client_needs_only_httpx_and_pydantic(tmp_path):
    (tmp_path / "app").symlink_to(ROOT / "app")
    for package in needed("httpx", "pydantic"):
        for top in {file.parts[0] for file in package.files} - {"..", "__pycache__"}:
            (tmp_path / top).symlink_to(package.locate_file(top))
    # -I -S: isolated, without the packages of this environment.
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})"
         + PROGRAM],
        capture_output=True, text=True, check=False,
        env={name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    message, loaded = done.stdout.splitlines()
    assert message.startswith("No answer from http://127.0.0.1:9/classify: ")
    assert loaded == "[]"
