"""Commands shown on the pages, run or not, have the options that are shown."""

import os
import re
import subprocess
import sys
from functools import cache

import pytest

from tests.docs.pages import PAGES

COMMANDS = sorted(
    {
        " ".join(command.split("#")[0].split())
        for page in PAGES.values()
        for block in page.blocks
        if block.language in ("sh", "console")
        for command in re.findall(
            r"^(?:\.venv/bin/)?doppelkopf (.+)$", block.text.replace("\\\n", ""), flags=re.M
        )
    }
)


@cache
def help_of(*words: str) -> str:
    """Return the help text of a command."""
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", *words, "--help"],
        env={**os.environ, "COLUMNS": "300", "TERMINAL_WIDTH": "300"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_pages_show_commands():
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("command", COMMANDS)
def test_command_shown_has_its_options(command):
    words = command.split()
    names = words[: 2 if words[0] == "checkpoint" else 1]
    known = set(re.findall(r"--[a-z0-9-]+", help_of(*names)))
    assert set(re.findall(r"(?<=\s)--[a-z0-9-]+", command)) <= known
