import inspect
from typing import Any

import typer
from typer.testing import CliRunner

from app.cli.options import option, with_options


def invoke(*words: str):
    """Run a command of one required, one optional and one boolean option."""
    seen: dict[str, Any] = {}

    @with_options(
        [
            option("in_file", str, inspect.Parameter.empty, help="A file."),
            option("max_rows", int | None, None, help="Rows."),
            option("strict", bool, False, "--strict", help="Be strict."),
        ]
    )
    def command(**options: Any) -> None:
        """Do something."""
        seen.update(options)

    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, words), seen


def test_options_arrive_by_name_with_their_types_and_defaults():
    result, seen = invoke("--in-file", "a", "--max-rows", "3")
    assert result.exit_code == 0, result.output
    assert seen == {"in_file": "a", "max_rows": 3, "strict": False}


def test_a_missing_or_malformed_option_is_a_usage_error():
    assert invoke()[0].exit_code == 2
    assert invoke("--in-file", "a", "--max-rows", "many")[0].exit_code == 2


def test_flags_replace_the_names_that_typer_derives():
    assert invoke("--in-file", "a", "--strict")[1]["strict"] is True
    assert invoke("--in-file", "a", "--no-strict")[0].exit_code == 2
