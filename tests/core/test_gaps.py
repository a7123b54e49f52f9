import pytest

from app.core.gaps import fill_gaps


@pytest.mark.parametrize(
    ("items", "results", "filled"),
    [
        ([None, "error", None], ["a", "b"], ["a", "error", "b"]),
        ([None, None], ["a", "b"], ["a", "b"]),
        (["error"], [], ["error"]),
        ([], [], []),
    ],
)
def test_results_fill_the_gaps_in_order(items, results, filled):
    assert fill_gaps(items, results) == filled
    assert fill_gaps(iter(items), iter(results)) == filled


def test_items_that_are_false_are_no_gaps():
    assert fill_gaps([0, None, ""], [1]) == [0, 1, ""]


@pytest.mark.parametrize("results", [[], ["a"], ["a", "b", "c"]])
def test_other_numbers_of_results_than_gaps_are_rejected(results):
    with pytest.raises(ValueError, match=r"(more|fewer) results than gaps"):
        fill_gaps([None, "error", None], results)
