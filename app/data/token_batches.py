"""Ads through the injected packed pass, in batches of a bounded number of tokens."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import tee
from typing import TypeVar

from app.core.errors import DataError, EngineError
from app.core.types import Encoded

Answer = TypeVar("Answer")
PackedPass = Callable[[Sequence[Encoded]], Sequence[Answer | EngineError]]
"""Answers a batch in order; an ad that cannot be answered gets an error in its place."""


def answers(
    run: PackedPass[Answer],
    ads: Iterable[tuple[int, Encoded]],
    max_tokens: int,
    path: object,
) -> Iterator[Answer]:
    """Yield each ad's answer, in order.

    Nothing is padded in a packed pass, so ads are taken as they come and not sorted by length.

    Args:
        run: the packed pass.
        ads: (row, encoded ad) pairs.
        max_tokens: of a batch; a longer ad makes a batch of its own.
        path: the file the rows are of, for messages.

    Raises:
        DataError: a row does not fit into the device's memory even alone.
    """
    rows, encoded = tee(ads)
    found = results(run, (one for _, one in encoded), max_tokens)
    for (row, _), result in zip(rows, found, strict=True):
        if isinstance(result, EngineError):
            raise DataError.at(path, str(result), row=row) from result
        yield result


def results(
    run: PackedPass[Answer], ads: Iterable[Encoded], max_tokens: int
) -> Iterator[Answer | EngineError]:
    """Yield each ad's answer or the reason why it has none, in order; see `answers`."""
    for batch in batches(ads, max_tokens):
        yield from run(batch)


def batches(ads: Iterable[Encoded], max_tokens: int) -> Iterator[list[Encoded]]:
    """Cut ads, in order, into batches of at most `max_tokens`; a longer ad goes alone."""
    batch: list[Encoded] = []
    tokens = 0
    for encoded in ads:
        if batch and tokens + encoded.tokens > max_tokens:
            yield batch
            batch, tokens = [], 0
        batch.append(encoded)
        tokens += encoded.tokens
    if batch:
        yield batch
