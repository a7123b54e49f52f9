"""Virtual environments of the contenders, created when they are first needed."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.measurements.peers.results import ContenderResults

STAMP = ".requirements"
"""The file with the requirements in a completely installed environment."""

Run = Callable[[Sequence[str | Path]], str]
"""Runs a command and returns its output."""


class InstallError(Exception):
    """An environment cannot be installed; the message says why."""


def interpreter(folder: Path, requirements: Sequence[str], run: Run | None = None) -> Path:
    """Install an environment with these requirements, unless it exists; return its interpreter.

    Args:
        folder: of the environment.
        requirements: exact versions; another list replaces the environment.
        run: runs a command; see `output`.

    Raises:
        InstallError: a command fails.
    """
    run = run or output
    python, stamp, wanted = folder / "bin" / "python", folder / STAMP, "\n".join(requirements)
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        run([sys.executable, "-m", "venv", "--clear", folder])
        run([python, "-m", "pip", "install", "--quiet", *requirements])
        stamp.write_text(wanted, encoding="utf-8")
    return python


def install_environment(standing: ContenderResults, folder: Path, run: Run | None = None) -> None:
    """Install a contender's environment below a folder and set its interpreter, or its failure."""
    contender = standing.contender
    if contender.environment is None:
        return
    try:
        standing.python = interpreter(
            folder / f"peer-{contender.environment}", contender.requirements, run
        )
        standing.versions = versions(standing.python, contender.requirements)
    except InstallError as error:
        standing.failure = f"It cannot be installed: {error}"


def versions(python: Path, requirements: Sequence[str]) -> dict[str, str]:
    """Return the installed versions of the required packages."""
    names = [one.partition("==")[0].partition("[")[0] for one in requirements]
    code = (
        "import json, sys, importlib.metadata as m;"
        "print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))"
    )
    return dict(json.loads(output([python, "-c", code, *names])))


def output(command: Sequence[str | Path]) -> str:
    """Run a command and return its output.

    Raises:
        InstallError: the command fails; with the last line of its output.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise InstallError(lines[-1] if lines else f"exit code {done.returncode}")
    return done.stdout
