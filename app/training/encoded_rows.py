"""The rows of a training: read, split, and encoded as token windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from app.core.errors import SettingsError
from app.core.head_labels import HEADS, IGNORE_INDEX, Head
from app.core.label_files import read_labels
from app.core.types import EncodedAd
from app.data.files import chunks
from app.data.labelled_ads import ColumnNames, LabelledAds, Targets, check_enough, read_labelled
from app.text.tokenization import AdTokenizer
from app.training.options import TrainOptions
from app.training.validation_split import split_rows


@dataclass(frozen=True)
class EncodedRows:
    """Labelled rows with their targets by head and their token windows."""

    table: LabelledAds
    targets: Mapping[str, Targets]
    encoded: Sequence[EncodedAd]

    def counts(self) -> dict[str, int]:
        """Return the numbers of rows, windows, truncated ads, and labels by head."""
        return {
            "rows": len(self.table),
            "windows": sum(len(ad.windows) for ad in self.encoded),
            "truncated": sum(ad.truncated for ad in self.encoded),
            **{head: int((self.targets[head] != IGNORE_INDEX).sum()) for head in HEADS},
        }


@dataclass(frozen=True)
class TrainingRows:
    """The rows of a training and the labels of both heads."""

    heads: dict[str, Head]
    training: EncodedRows
    validation: EncodedRows | None
    unlabelled: int
    """Rows that were left out because they have no label."""

    def counts(self) -> dict[str, object]:
        """Return the counts of all parts as `metrics.json` keeps them."""
        validation = {"validation": self.validation.counts()} if self.validation else {}
        return {"train": self.training.counts(), **validation, "unlabelled": self.unlabelled}


def read_training_rows(options: TrainOptions, tokenizer: AdTokenizer) -> TrainingRows:
    """Read, check, split and encode the files that the options name.

    Raises:
        DataError: a file, column or label is wrong, or there are too few rows.
        SettingsError: `--distance-weight` is set, but no head is ordered.
    """
    columns = ColumnNames(
        options.text_column,
        options.title_column,
        options.job_category_column,
        options.min_education_column,
        options.group_column,
    )
    table = read_labelled(options.data, columns)
    unlabelled = table.unlabelled
    heads = read_labels(options.labels) if options.labels else table.heads()
    if options.distance_weight and not any(head.ordered for head in heads.values()):
        raise SettingsError(
            "--distance-weight needs an ordered head, but --labels marks no head as ordered."
        )
    source = str(options.labels or options.data)
    # Checks the labels of all rows before some of them are held out.
    table.targets(heads, source)
    held_out: LabelledAds | None = None
    if options.validation:
        held_out = read_labelled(options.validation, columns)
        unlabelled += held_out.unlabelled
    elif options.validation_share:
        train, validate = split_rows(table, options.validation_share, options.seed)
        table, held_out = table.select(train), table.select(validate)
    training = _encode(table, heads, source, tokenizer)
    check_enough(table, training.targets, heads)
    validation = _encode(held_out, heads, source, tokenizer) if held_out is not None else None
    return TrainingRows(heads, training, validation, unlabelled)


def _encode(
    table: LabelledAds, heads: Mapping[str, Head], source: str, tokenizer: AdTokenizer
) -> EncodedRows:
    targets = table.targets(heads, source)
    encoded = [ad for chunk in chunks(table.ads) for ad in tokenizer.encode(chunk)]
    return EncodedRows(table, targets, encoded)


def class_weights(targets: Mapping[str, Targets], heads: Mapping[str, Head]) -> dict[str, Tensor]:
    """Return by head each class's weight in the loss: rows / (classes * rows of the class).

    Returns:
        float32 of shape (labels,); 1 for a class without rows.
    """
    from sklearn.utils.class_weight import compute_class_weight

    weights = {}
    for name, head in heads.items():
        labelled = targets[name][targets[name] != IGNORE_INDEX]
        classes = np.unique(labelled)
        weight = np.ones(len(head.labels), dtype=np.float32)
        weight[classes] = compute_class_weight("balanced", classes=classes, y=labelled)
        weights[name] = torch.from_numpy(weight)
    return weights
