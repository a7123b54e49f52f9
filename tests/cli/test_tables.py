from dataclasses import replace
from typing import Any

from rich.table import Table

from app.cli.tables import checkpoint_tables


def cells(table: Table) -> list[list[Any]]:
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_a_checkpoint_is_its_sizes_labels_and_note(checkpoint):
    sizes, job, jobs, education, educations, note = checkpoint_tables(checkpoint)
    assert dict(cells(sizes))["revision"] == checkpoint.revision
    assert job == "Job category (job_category): 3 labels, unordered, temperature 1.000"
    assert cells(jobs)[0] == ["0", "nursing", "Pflege", "", "813 821"]
    assert "ordered, lowest first" in education
    assert [row[1] for row in cells(educations)] == ["none", "vocational", "master"]
    assert note == "untrained"


def test_measured_heads_stand_side_by_side_in_the_metrics(checkpoint):
    metrics = {
        "job_category": {"rows": 9, "accuracy": 0.5},
        "min_education": {"rows": 8, "accuracy": 0.25, "mean_level_error": 1.5},
    }
    *_, table = checkpoint_tables(replace(checkpoint, metrics=metrics))
    assert cells(table) == [
        ["rows", "9", "8"],
        ["accuracy", "0.500", "0.250"],
        ["mean level error", "-", "1.500"],
    ]


def test_a_checkpoint_without_metrics_says_so(checkpoint):
    *_, last = checkpoint_tables(replace(checkpoint, metrics={}))
    assert last == "Nothing was measured."
