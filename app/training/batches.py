"""Ads through the injected packed pass, in batches of a bounded number of tokens."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from app.errors import DataError, EngineError
from app.records import Encoded

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
    for batch in _batches(ads, max_tokens):
        results = run([encoded for _, encoded in batch])
        for (row, _), result in zip(batch, results, strict=True):
            if isinstance(result, EngineError):
                raise DataError.at(path, str(result), row=row) from result
            yield result


def _batches(
    ads: Iterable[tuple[int, Encoded]], max_tokens: int
) -> Iterator[list[tuple[int, Encoded]]]:
    batch: list[tuple[int, Encoded]] = []
    tokens = 0
    for row, encoded in ads:
        if batch and tokens + encoded.tokens > max_tokens:
            yield batch
            batch, tokens = [], 0
        batch.append((row, encoded))
        tokens += encoded.tokens
    if batch:
        yield batch
