"""Newline-delimited JSON as it arrives: bytes in, whole lines out, none longer than allowed."""

import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is not empty."""

    number: int
    content: bytes | None
    """Without its end; None where the line was longer than allowed."""

    @property
    def size(self) -> int:
        """Bytes that it holds in memory."""
        return len(self.content or b"")


class LineReader:
    """Cuts a body into lines. Empty lines are counted and left out."""

    def __init__(self, first: int, max_bytes: int = sys.maxsize) -> None:
        """Begin.

        Args:
            first: the first line's number.
            max_bytes: of one line.
        """
        self._number, self._max_bytes = first, max_bytes
        self._rest = bytearray()
        self._is_too_long = False

    @property
    def number(self) -> int:
        """Number of the line that is being read."""
        return self._number

    def feed(self, chunk: bytes) -> list[Line]:
        """Take a part of the body; return the lines that end in it."""
        *ended, rest = chunk.split(b"\n")
        lines = []
        for part in ended:
            self._add(part)
            lines += self.end()
        self._add(rest)
        return lines

    def end(self) -> list[Line]:
        """End the line that is being read, as at the end of the body, and return it, if any."""
        content = None if self._is_too_long else bytes(self._rest)
        line = Line(self._number, content)
        self._number += 1
        self._rest.clear()
        self._is_too_long = False
        return [] if content is not None and not content.strip() else [line]

    def _add(self, part: bytes) -> None:
        if self._is_too_long or len(self._rest) + len(part) > self._max_bytes:
            self._is_too_long = True
            self._rest.clear()
        else:
            self._rest += part
