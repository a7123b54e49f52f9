import os
import subprocess
import sys

import pytest

from app.cli.console import print_error, require_extra
from app.core.errors import StartupError


def test_a_missing_extra_is_named_with_its_install_command():
    with pytest.raises(StartupError, match=r'no_such_module.*pip install "doppelkopf\[train\]"'):
        require_extra(["no_such_module"])


def test_installed_modules_pass():
    require_extra(["json"])


def test_an_error_is_one_line_however_long(capsys):
    print_error("A sentence. " * 100)
    assert capsys.readouterr().err == "A sentence. " * 100 + "\n"


@pytest.mark.parametrize(("rank", "printed"), [("0", ["1", "2", "3"]), ("1", [])])
def test_only_the_first_of_several_processes_prints(rank, printed):
    program = (
        "from app.cli.console import print_error, stderr, stdout\n"
        "stdout.print('1'); print_error('2'); stderr.print('3')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"RANK": rank},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    assert sorted(done.stdout.split()) == printed
