"""The columns that predictions add to a row: each head's label and probability, and an error."""

from collections.abc import Collection, Mapping
from pathlib import PurePath
from typing import Any

from app.core.errors import DataError
from app.core.head_labels import HEADS
from app.core.types import LabelProbability

PredictionColumns = dict[str, Any]
"""The values of one row, by column name; every column is present, and None if it is empty."""

ERROR_COLUMN = "prediction_error"
PROBABILITY_COLUMNS = frozenset(f"{head}_probability" for head in HEADS)
COLUMN_NAMES = (
    *(f"{head}_{what}" for head in HEADS for what in ("predicted", "probability")),
    ERROR_COLUMN,
)
"""The names of all columns, in order."""

EMPTY_TEXT = "The text is empty."


def columns_of_labels(labels: Mapping[str, LabelProbability]) -> PredictionColumns:
    """Return the columns of a row with these labels, by head; probabilities have six decimals."""
    columns: PredictionColumns = dict.fromkeys(COLUMN_NAMES)
    for head, label in labels.items():
        columns[f"{head}_predicted"] = label.label
        columns[f"{head}_probability"] = round(label.probability, 6)
    return columns


def columns_of_error(reason: str) -> PredictionColumns:
    """Return the columns of a row without a prediction."""
    return dict.fromkeys(COLUMN_NAMES) | {ERROR_COLUMN: reason}


def check_column_names(path: PurePath, names: Collection[str]) -> None:
    """Raise DataError if a file already has a column of a prediction."""
    for name in COLUMN_NAMES:
        if name in names:
            raise DataError.at(
                path, "the prediction would overwrite this column; rename it.", column=name
            )
