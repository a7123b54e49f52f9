"""The command `doppelkopf evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.console import require_extra, silence_libraries, stderr, stdout
from app.cli.engines import load_engine
from app.cli.options import (
    BatchTokens,
    CheckpointFolder,
    Data,
    Device,
    Dtype,
    EducationColumn,
    JobColumn,
    TextColumn,
    TitleColumn,
)


def evaluate(
    folder: CheckpointFolder,
    data: Data,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the report. Default: evaluation/CHECKPOINT-DATA."),
    ] = None,
    text_column: TextColumn = None,
    title_column: TitleColumn = None,
    job_category_column: JobColumn = None,
    min_education_column: EducationColumn = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_tokens: BatchTokens = None,
) -> None:
    """Measure a checkpoint on labelled ads, and write a report with pictures."""
    require_extra()
    silence_libraries()
    with stderr.status("Loading"):
        from app.cli.progress import progress_bar
        from app.cli.tables import evaluation_tables
        from app.data.labelled_ads import ColumnNames
        from app.model.checkpoint import open_checkpoint
        from app.training.evaluation.evaluate import evaluate as run
        from app.training.evaluation.evaluate import read_test_ads
        from app.training.evaluation.report import write_report

        checkpoint = open_checkpoint(folder)
        columns = ColumnNames(text_column, title_column, job_category_column, min_education_column)
        table = read_test_ads(checkpoint, data, columns)
        engine, tokens = load_engine(checkpoint, device, dtype, batch_tokens)
    with progress_bar(stderr) as progress:
        task = progress.add_task("Evaluating", total=len(table))
        evaluation = run(
            checkpoint, table, engine.logits, tokens, lambda ads: progress.advance(task, ads)
        )
    report = out or Path("evaluation") / f"{checkpoint.name}-{data.stem}"
    with stderr.status("Drawing"):
        page = write_report(evaluation, report)
    stdout.print(*evaluation_tables(evaluation), sep="\n")
    stdout.print(f"The report is {page}.", highlight=False)
