from collections import Counter
from pathlib import Path

import pytest

from app.core.errors import DataError
from app.core.types import Ad
from app.data.labelled_ads import LabelledAds
from app.training.validation_split import split_rows


def table(labels, groups=()):
    rows = list(range(1, len(labels) + 1))
    ads = [Ad("x")] * len(labels)
    return LabelledAds(Path("a.csv"), {}, rows, ads, list(labels), list(groups))


def test_each_class_contributes_its_share():
    labels = [("a", "x")] * 100 + [("b", "x")] * 50 + [("", "y")] * 20
    training, validation = split_rows(table(labels), 0.2, seed=1)
    assert sorted(training + validation) == list(range(170))
    counts = Counter(labels[index] for index in validation)
    assert counts[("a", "x")] == 20
    assert counts[("b", "x")] == 10
    assert counts[("", "y")] == 4


@pytest.mark.parametrize("seed", range(20))
def test_each_class_keeps_a_training_row(seed):
    labels = [("a", ""), ("b", ""), ("b", ""), ("c", "")]
    training, validation = split_rows(table(labels), 0.5, seed)
    assert validation
    assert {labels[index] for index in training} == set(labels)


def test_the_same_seed_gives_the_same_split():
    labels = [("a", "")] * 30
    assert split_rows(table(labels), 0.3, 5) == split_rows(table(labels), 0.3, 5)
    assert split_rows(table(labels), 0.3, 5) != split_rows(table(labels), 0.3, 6)


def test_groups_stay_together_and_training_keeps_all_classes():
    labels = [("a", ""), ("b", ""), ("c", "")] * 4
    groups = ["only c" if job == "c" else f"firm {index // 3}" for index, (job, _) in
              enumerate(labels)]  # fmt: skip
    training, validation = split_rows(table(labels, groups), 0.25, seed=3)
    assert not {groups[index] for index in training} & {groups[index] for index in validation}
    assert {labels[index][0] for index in training} == {"a", "b", "c"}


def test_a_row_without_a_group_is_its_own_group():
    training, validation = split_rows(table([("a", "")] * 10, [""] * 10), 0.2, seed=1)
    assert (len(training), len(validation)) == (8, 2)


def test_rows_that_cannot_be_split_are_refused():
    with pytest.raises(DataError, match="no class has two rows"):
        split_rows(table([("a", ""), ("b", "")]), 0.5, 1)
    with pytest.raises(DataError, match="all rows are in the group 'firm'"):
        split_rows(table([("a", ""), ("a", "")], ["firm", "firm"]), 0.5, 1)
