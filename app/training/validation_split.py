"""Splits labelled rows into training and validation rows."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from app.core.errors import DataError
from app.data.labelled_ads import LabelledAds

GROUP_SPLITS = 20
"""Random splits by group to choose from; the one with the most classes in training is taken."""


def split_rows(table: LabelledAds, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Draw the validation rows: whole groups if the rows have groups, else a share of each class.

    Args:
        table: the labelled rows.
        share: the validation share of the rows, above 0 and below 1; approximate with groups.
        seed: the same seed gives the same split.

    Returns:
        The indices of the training rows and of the validation rows, both ascending.

    Raises:
        DataError: the rows cannot be split.
    """
    chosen = _by_group(table, share, seed) if table.groups else _by_class(table.labels, share, seed)
    if not chosen:
        raise DataError.at(
            table.path,
            "no class has two rows, so no row is left to validate with; "
            "name a file with --validation or set --validation-share 0.",
        )
    return [index for index in range(len(table)) if index not in chosen], sorted(chosen)


def _by_class(labels: Sequence[tuple[str, str]], share: float, seed: int) -> set[int]:
    """Take `share` of each class by systematic sampling, but never all rows of a class.

    The stratified splits of libraries refuse classes of one row and splits smaller than the number
    of classes; small data sets have both.
    """
    random = np.random.default_rng(seed)
    classes: dict[str, list[int]] = defaultdict(list)
    for index, (job, education) in enumerate(labels):
        classes[job or f"\0{education}"].append(index)
    chosen: set[int] = set()
    # Taken if the share is too small for every class: the row that comes next.
    fallback: tuple[float, int] | None = None
    for name in sorted(classes):
        members = random.permutation(classes[name])
        positions = (np.arange(len(members)) + random.random()) / len(members)
        candidates = list(zip(positions.tolist(), members.tolist(), strict=True))[:-1]
        chosen.update(index for position, index in candidates if position < share)
        fallback = min([*candidates[:1], *([fallback] if fallback else [])], default=None)
    return chosen or ({fallback[1]} if fallback else set())


def _by_group(table: LabelledAds, share: float, seed: int) -> set[int]:
    from sklearn.model_selection import GroupShuffleSplit

    # A row without a group is a group of its own.
    groups = [group or f"\0{index}" for index, group in enumerate(table.groups)]
    if len(set(groups)) < 2:
        raise DataError.at(
            table.path,
            f"all rows are in the group '{groups[0]}', so no row is left to validate with; "
            "name a file with --validation or set --validation-share 0.",
        )
    splitter = GroupShuffleSplit(n_splits=GROUP_SPLITS, test_size=share, random_state=seed)

    def rank(validation: Iterable[int]) -> tuple[int, float]:
        held_out = set(validation)
        training = set(range(len(groups))) - held_out
        classes = {label for index in training for label in enumerate(table.labels[index])}
        return -len(classes), abs(len(held_out) / len(groups) - share)

    splits = [validation.tolist() for _, validation in splitter.split(groups, groups=groups)]
    return set(min(splits, key=rank))
