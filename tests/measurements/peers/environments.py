"""An environment for each family of contenders, made when it is first asked for."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.measurements.peers.standing import Standing

STAMP = ".requirements"
"""In an environment that was finished: what was asked for."""

Run = Callable[[Sequence[str | Path]], str]
"""Runs a command and returns what it printed."""


class InstallError(Exception):
    """An environment could not be made; says why."""


def interpreter(folder: Path, requirements: Sequence[str], run: Run | None = None) -> Path:
    """Return the interpreter of an environment that has these requirements.

    Args:
        folder: where it is, or will be.
        requirements: exact ones; another list makes the environment anew.
        run: how commands are run; see `output`.

    Raises:
        InstallError: it cannot be made.
    """
    run = run or output
    python, stamp, wanted = folder / "bin" / "python", folder / STAMP, "\n".join(requirements)
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        run([sys.executable, "-m", "venv", "--clear", folder])
        run([python, "-m", "pip", "install", "--quiet", *requirements])
        stamp.write_text(wanted, encoding="utf-8")
    return python


def install(standing: Standing, folder: Path, run: Run | None = None) -> None:
    """Give a contender the interpreter of its own environment below a folder, or a failure."""
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
    """Return what an environment has of the packages that were asked for."""
    names = [one.partition("==")[0].partition("[")[0] for one in requirements]
    code = (
        "import json, sys, importlib.metadata as m;"
        "print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))"
    )
    return dict(json.loads(output([python, "-c", code, *names])))


def output(command: Sequence[str | Path]) -> str:
    """Run a command and return what it printed.

    Raises:
        InstallError: with the last line that it left.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise InstallError(lines[-1] if lines else f"exit code {done.returncode}")
    return done.stdout
