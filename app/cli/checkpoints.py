"""The commands `doppelkopf checkpoint show`, `list`, `average` and `import`."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.console import silence_libraries, stderr, stdout
from app.cli.options import Base, CheckpointFolder, MaxLength, NewCheckpoint
from app.serving.model_store import MODEL_STORE


def show(folder: CheckpointFolder) -> None:
    """Print a checkpoint's heads, labels, sizes, revision and metrics."""
    silence_libraries()
    from app.cli.tables import checkpoint_tables
    from app.model.checkpoint import open_checkpoint

    stdout.print(*checkpoint_tables(open_checkpoint(folder)), sep="\n")


def list_(
    store: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="A folder of checkpoints.")
    ] = MODEL_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Verify and list the checkpoints of a folder; says what is wrong with damaged ones."""
    silence_libraries()
    from app.cli.checkpoint_list import list_as_json, list_checkpoints, list_table

    found = list_checkpoints(store)
    if as_json:
        typer.echo(list_as_json(found))
    else:
        stdout.print(*list_table(store, found), sep="\n")


def average(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Trained from one base and one --seed.")
    ],
    out: NewCheckpoint,
) -> None:
    """Average the weights of checkpoints; often more robust on new texts than each of them.

    Its temperatures are 1: `doppelkopf evaluate` measures how well it is calibrated.
    """
    silence_libraries()
    with stderr.status("Averaging"):
        from app.training.weight_averaging import save_average

        checkpoint = save_average(folders, out)
    stdout.print(f"Saved {out}, revision {checkpoint.revision}.", highlight=False)


def import_(
    state_dict: Annotated[
        Path, typer.Argument(help="Weights: .safetensors, or a .bin or .pt read with weights only.")
    ],
    base: Base,
    labels: Annotated[Path, typer.Option(help="JSON with both heads' labels, in logit order.")],
    out: NewCheckpoint,
    encoder_prefix: Annotated[
        str, typer.Option(help="Prefix of the encoder's tensor names.")
    ] = "bert.",
    job_category_prefix: Annotated[
        str, typer.Option(help="Prefix of the job category head's tensor names.")
    ] = "classifier_job_type.",
    min_education_prefix: Annotated[
        str, typer.Option(help="Prefix of the minimum education head's tensor names.")
    ] = "classifier_edu_level.",
    max_length: MaxLength = None,
) -> None:
    """Make a checkpoint of a state dict that was trained elsewhere."""
    silence_libraries()
    with stderr.status("Importing"):
        from app.model.state_dict_import import Prefixes, import_checkpoint

        prefixes = Prefixes(encoder_prefix, job_category_prefix, min_education_prefix)
        checkpoint = import_checkpoint(state_dict, base, labels, out, prefixes, max_length)
    stdout.print(f"Saved {out}, revision {checkpoint.revision}.", highlight=False)
