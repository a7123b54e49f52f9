"""The command line `doppelkopf`: one module a command, registered here.

Commands import heavy libraries inside their functions, so that `doppelkopf --help` answers at once.
"""

from typing import Any

import typer
from typer.core import TyperGroup

from app.cli import bench, checkpoints, demo, evaluate, predict, serve, train
from app.cli.console import print_error
from app.core.errors import StartupError


class Commands(TyperGroup):
    """Ends a failed command with one sentence on stderr and an exit code, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; exit code 1 after a `StartupError`, 130 after Ctrl-C."""
        try:
            return super().invoke(ctx)
        except StartupError as error:
            print_error(str(error))
            raise typer.Exit(1) from error
        except KeyboardInterrupt as interrupt:
            print_error(str(interrupt) or "Interrupted.")
            raise typer.Exit(130) from interrupt


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Job category and minimum education of job ads, from one encoder pass.",
)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(predict.predict)
app.command()(demo.demo)
app.command()(bench.bench)
app.command()(serve.serve)

checkpoint = typer.Typer(no_args_is_help=True, help="Inspect, average and import checkpoints.")
checkpoint.command()(checkpoints.show)
checkpoint.command("list")(checkpoints.list_)
checkpoint.command("average")(checkpoints.average)
checkpoint.command("import")(checkpoints.import_)
app.add_typer(checkpoint, name="checkpoint")


def main() -> None:
    """Run the command line; the entry point of `doppelkopf`."""
    app()
