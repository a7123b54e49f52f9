"""Cuts the tokens of a text into overlapping windows of equal length."""

from math import ceil


def window_spans(length: int, room: int, overlap: int, limit: int) -> list[tuple[int, int]]:
    """Cut a text into overlapping spans of equal length, one a window.

    Equal, because windows are averaged: a short rest would count as much as a full window.

    Args:
        length: tokens of the text.
        room: tokens of a span, at most.
        overlap: tokens that neighbouring spans share, at least.
        limit: number of spans; the text after the last one is left out.

    Returns:
        (start, end) pairs in order; one empty span for an empty text.
    """
    if length <= room:
        return [(0, length)]
    count = min(ceil((length - overlap) / (room - overlap)), limit)
    length = min(length, room + (count - 1) * (room - overlap))
    size = ceil((length + (count - 1) * overlap) / count)
    starts = [round(index * (length - size) / max(count - 1, 1)) for index in range(count)]
    return [(start, start + size) for start in starts]
