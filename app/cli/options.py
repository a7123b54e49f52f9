"""Options that several commands share, and options made from the fields of a class."""

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from app.training.options import TrainOptions

TRAIN_HELP = {
    name: hint.__metadata__[0].documentation
    for name, hint in get_type_hints(TrainOptions, include_extras=True).items()
}
"""Help text of each option of `doppelkopf train`; other commands reuse some of them."""

Data = Annotated[Path, typer.Option(help=TRAIN_HELP["data"])]
Base = Annotated[str, typer.Option(help=TRAIN_HELP["base"])]
NewCheckpoint = Annotated[Path, typer.Option(help=TRAIN_HELP["out"])]
TextColumn = Annotated[str | None, typer.Option(help=TRAIN_HELP["text_column"])]
TitleColumn = Annotated[str | None, typer.Option(help=TRAIN_HELP["title_column"])]
JobColumn = Annotated[str | None, typer.Option(help=TRAIN_HELP["job_category_column"])]
EducationColumn = Annotated[str | None, typer.Option(help=TRAIN_HELP["min_education_column"])]
MaxLength = Annotated[int | None, typer.Option(help=TRAIN_HELP["max_length"])]
CheckpointFolder = Annotated[Path, typer.Argument(metavar="DIR", help="A checkpoint folder.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, float16, bfloat16 or int8.")]
BatchTokens = Annotated[
    int | None,
    typer.Option(min=1, help="Tokens per forward pass. Default: 1024 on a CPU, 32768 on CUDA."),
]


def option(
    name: str, kind: Any, default: Any, *flags: str, **declaration: Any
) -> inspect.Parameter:
    """Return the parameter of a command that typer reads as an option.

    Args:
        name: of the parameter; the option is called the same, with dashes.
        kind: its type.
        default: `inspect.Parameter.empty` makes the option required.
        flags: the option's names, if they differ from what typer derives.
        declaration: further arguments of `typer.Option`.
    """
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, typer.Option(*flags, **declaration)],
    )


def with_options(
    options: Iterable[inspect.Parameter],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command written as `command(**options)` these options."""
    parameters = list(options)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        # typer reads both: the signature for the names, the annotations for the types.
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in parameters} | {
            "return": None
        }
        return command

    return decorate
