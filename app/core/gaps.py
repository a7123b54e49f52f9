"""Puts the results for some items of a list back into the places of these items."""

from collections.abc import Iterable
from typing import TypeVar

Item = TypeVar("Item")


def fill_gaps(items: Iterable[Item | None], results: Iterable[Item]) -> list[Item]:
    """Return the items with each None replaced by the next result, in order.

    For batches in which some items got an error before the others are computed.

    Raises:
        ValueError: the number of results is not that of the gaps.
    """
    left = iter(results)
    try:
        filled = [next(left) if item is None else item for item in items]
    except StopIteration:
        raise ValueError("there are fewer results than gaps") from None
    for _ in left:
        raise ValueError("there are more results than gaps")
    return filled
