"""Newline-delimited JSON: cuts chunks of bytes into whole lines of limited length."""

import sys
from dataclasses import dataclass

NDJSON = "application/x-ndjson"
"""The media type that is sent; servers accept its other names too."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is not empty."""

    number: int
    content: bytes | None
    """Without its line end; None if the line was longer than allowed."""

    @property
    def size(self) -> int:
        """Bytes of memory that its content takes."""
        return len(self.content or b"")


class LineReader:
    """Cuts a body that arrives in chunks into lines. Empty lines count, but are left out.

    Args:
        first: number of the first line.
        max_bytes: of one line. A longer one is not kept in memory; it comes out as a `Line`
            without content.
    """

    def __init__(self, first: int, max_bytes: int = sys.maxsize) -> None:
        self._number, self._max_bytes = first, max_bytes
        self._rest = bytearray()
        self._is_too_long = False

    @property
    def number(self) -> int:
        """Number of the line whose end has not arrived yet."""
        return self._number

    def feed(self, chunk: bytes) -> list[Line]:
        """Take the next chunk of the body; return the lines that end in it."""
        *ended, rest = chunk.split(b"\n")
        lines = []
        for part in ended:
            self._add(part)
            lines += self.end()
        self._add(rest)
        return lines

    def end(self) -> list[Line]:
        """Finish the unfinished line, as at the end of the body; return it unless it is empty."""
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
