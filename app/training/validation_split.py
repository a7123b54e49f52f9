"""Which rows train and which validate."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from app.core.errors import DataError
from app.data.labelled_ads import LabelledAds

CANDIDATES = 20
"""Splits by group that are drawn; the one that leaves training the most classes is taken."""


def split(table: LabelledAds, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Draw the validation rows: whole groups where rows have one, else evenly from each class.

    Args:
        table: the labelled rows.
        share: of the rows that validate, above 0 and below 1; by groups it is met roughly.
        seed: of the draw; one seed, one split.

    Returns:
        The indices of the training and of the validation rows, each ascending.

    Raises:
        DataError: the rows cannot be split.
    """
    chosen = _by_group(table, share, seed) if table.groups else _by_class(table.labels, share, seed)
    if not chosen:
        raise DataError.at(
            table.path,
            "no class has two rows, so none can validate; "
            "name a file with --validation or set --validation-share 0.",
        )
    return [index for index in range(len(table)) if index not in chosen], sorted(chosen)


def _by_class(labels: Sequence[tuple[str, str]], share: float, seed: int) -> set[int]:
    """Take `share` of each class by systematic sampling, never a class's last row.

    Libraries' stratified splits refuse classes of one row and splits smaller than the number of
    classes; labels of a small team have both.
    """
    random = np.random.default_rng(seed)
    classes: dict[str, list[int]] = defaultdict(list)
    for index, (job, education) in enumerate(labels):
        classes[job or f"\0{education}"].append(index)
    chosen: set[int] = set()
    spare: tuple[float, int] | None = None
    for name in sorted(classes):
        members = random.permutation(classes[name])
        places = (np.arange(len(members)) + random.random()) / len(members)
        free = list(zip(places.tolist(), members.tolist(), strict=True))[:-1]
        chosen.update(index for place, index in free if place < share)
        spare = min([*free[:1], *([spare] if spare else [])], default=None)
    return chosen or ({spare[1]} if spare else set())


def _by_group(table: LabelledAds, share: float, seed: int) -> set[int]:
    from sklearn.model_selection import GroupShuffleSplit

    # A row without a group is one of its own.
    groups = [group or f"\0{index}" for index, group in enumerate(table.groups)]
    if len(set(groups)) < 2:
        raise DataError.at(
            table.path,
            f"all rows are of the group '{groups[0]}', so none can validate; "
            "name a file with --validation or set --validation-share 0.",
        )
    splitter = GroupShuffleSplit(n_splits=CANDIDATES, test_size=share, random_state=seed)

    def rank(validation: Iterable[int]) -> tuple[int, float]:
        held = set(validation)
        training = set(range(len(groups))) - held
        classes = {label for index in training for label in enumerate(table.labels[index])}
        return -len(classes), abs(len(held) / len(groups) - share)

    draws = [drawn.tolist() for _, drawn in splitter.split(groups, groups=groups)]
    return set(min(draws, key=rank))
