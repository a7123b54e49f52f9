"""A journal of answers: what a long run has found so far, so that the next one goes on from there.

A file of JSON lines: first what the run is about, then the answers of a chunk of rows in each, in
order. A line is forced to the disk before the next chunk is worked on. Whatever ends the run,
Ctrl-C, a kill or the power, leaves whole lines and at most one that is torn, which is cut off. So
chunks are always the same, and with them the batches and the last digits of what they give.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.core.errors import DataError

Answer = dict[str, Any]


class Journal:
    """Keeps the answers of one run. A context manager; `discard` it when the output is there."""

    def __init__(self, path: Path, about: Mapping[str, str], out: Path) -> None:
        """Open it, or begin one.

        Args:
            path: the file.
            about: what the answers depend on, by name; the same again goes on.
            out: what is made of it, for messages.

        Raises:
            DataError: it is of another run.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("a+b")
        self._file.seek(0)
        self._start = self._end = self.rows = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            if not self._end:
                self._require(json.loads(line), about, out)
                self._start = len(line)
            else:
                self.rows += len(json.loads(line))
            self._end += len(line)
        self._file.truncate(self._end)
        if not self._end:
            self._start = self._append(about)

    def _require(self, before: Mapping[str, str], about: Mapping[str, str], out: Path) -> None:
        changed = [name for name in about if before.get(name) != about[name]]
        if changed:
            self._file.close()
            raise DataError.at(
                out,
                f"an interrupted run with another {' and '.join(changed)} is unfinished; "
                f"repeat it to finish it, or delete {self._path} to begin anew.",
            )

    def add(self, answers: Sequence[Answer]) -> None:
        """Append the answers of the next chunk, so that nothing but the disk can lose them."""
        self._append(answers)
        self.rows += len(answers)

    def _append(self, value: Mapping[str, str] | Sequence[Answer]) -> int:
        content = json.dumps(value, ensure_ascii=False).encode() + b"\n"
        self._file.write(content)
        self._file.flush()
        os.fsync(self._file.fileno())
        return len(content)

    def answers(self) -> Iterator[Answer]:
        """Yield all answers from the first."""
        with self._path.open("rb") as file:
            file.seek(self._start)
            for line in file:
                yield from json.loads(line)

    def discard(self) -> None:
        """Remove it."""
        self._path.unlink()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
