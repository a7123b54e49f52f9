from collections import Counter
from pathlib import Path

import pytest

from app.core.errors import DataError
from app.core.types import Ad
from app.data.labelled_ads import LabelledAds
from app.training.validation_split import split


def table(labels, groups=()):
    rows = list(range(1, len(labels) + 1))
    ads = [Ad("x")] * len(labels)
    return LabelledAds(Path("a.csv"), {}, rows, ads, list(labels), list(groups))


def test_each_class_gives_its_share():
    labels = [("a", "x")] * 100 + [("b", "x")] * 50 + [("", "y")] * 20
    training, validation = split(table(labels), 0.2, seed=1)
    assert sorted(training + validation) == list(range(170))
    counts = Counter(labels[index] for index in validation)
    assert counts[("a", "x")] == 20
    assert counts[("b", "x")] == 10
    assert counts[("", "y")] == 4


@pytest.mark.parametrize("seed", range(20))
def test_a_class_never_loses_its_last_row_to_validation(seed):
    labels = [("a", ""), ("b", ""), ("b", ""), ("c", "")]
    training, validation = split(table(labels), 0.5, seed)
    assert validation
    assert {labels[index] for index in training} == set(labels)


def test_one_seed_is_one_split():
    labels = [("a", "")] * 30
    assert split(table(labels), 0.3, 5) == split(table(labels), 0.3, 5)
    assert split(table(labels), 0.3, 5) != split(table(labels), 0.3, 6)


def test_groups_stay_together_and_training_keeps_the_classes_it_can():
    labels = [("a", ""), ("b", ""), ("c", "")] * 4
    groups = ["only c" if job == "c" else f"firm {index // 3}" for index, (job, _) in
              enumerate(labels)]  # fmt: skip
    training, validation = split(table(labels, groups), 0.25, seed=3)
    assert not {groups[index] for index in training} & {groups[index] for index in validation}
    assert {labels[index][0] for index in training} == {"a", "b", "c"}


def test_rows_without_a_group_are_their_own():
    training, validation = split(table([("a", "")] * 10, [""] * 10), 0.2, seed=1)
    assert (len(training), len(validation)) == (8, 2)


def test_what_cannot_be_split_is_told():
    with pytest.raises(DataError, match="no class has two rows"):
        split(table([("a", ""), ("b", "")]), 0.5, 1)
    with pytest.raises(DataError, match="all rows are of the group 'firm'"):
        split(table([("a", ""), ("a", "")], ["firm", "firm"]), 0.5, 1)
