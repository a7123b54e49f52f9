"""Runs a packed forward pass over any number of ads, in batches of a limited number of tokens."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import tee
from typing import TypeVar

from app.core.errors import DataError, EngineError
from app.core.types import EncodedAd

Answer = TypeVar("Answer")
PackedPass = Callable[[Sequence[EncodedAd]], Sequence[Answer | EngineError]]
"""A packed forward pass over a batch: one result an ad, in order, or the error of that ad."""


def run_rows_in_batches(
    run: PackedPass[Answer],
    ads: Iterable[tuple[int, EncodedAd]],
    max_tokens: int,
    path: object,
) -> Iterator[Answer]:
    """Yield the result for each ad, in order; stop at the first ad that failed.

    Ads are not sorted by length, since a packed pass has no padding.

    Args:
        run: the packed forward pass.
        ads: (row number, tokenized ad) pairs.
        max_tokens: of a batch; a longer ad is a batch of its own.
        path: the file of the rows, named in errors.

    Raises:
        DataError: the engine failed on an ad, for example for lack of memory; names the row.
    """
    rows, encoded = tee(ads)
    found = run_in_batches(run, (one for _, one in encoded), max_tokens)
    for (row, _), result in zip(rows, found, strict=True):
        if isinstance(result, EngineError):
            raise DataError.at(path, str(result), row=row) from result
        yield result


def run_in_batches(
    run: PackedPass[Answer], ads: Iterable[EncodedAd], max_tokens: int
) -> Iterator[Answer | EngineError]:
    """Yield each ad's answer or the reason why it has none, in order; see `run_rows_in_batches`."""
    for batch in batches(ads, max_tokens):
        yield from run(batch)


def batches(ads: Iterable[EncodedAd], max_tokens: int) -> Iterator[list[EncodedAd]]:
    """Cut ads, in order, into batches of at most `max_tokens`; a longer ad goes alone."""
    batch: list[EncodedAd] = []
    tokens = 0
    for encoded in ads:
        if batch and tokens + encoded.tokens > max_tokens:
            yield batch
            batch, tokens = [], 0
        batch.append(encoded)
        tokens += encoded.tokens
    if batch:
        yield batch
