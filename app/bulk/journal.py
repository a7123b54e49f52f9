"""A journal of predictions: keeps what a long run has predicted, so that the next one continues it.

It is a file of JSON lines: the first says what the predictions depend on, and each further line
holds those of one chunk of rows, in order. A line is forced to the disk before work on the next
chunk begins. However a run ends (Ctrl-C, a kill, a power failure), the file holds whole lines and
at most one incomplete line, which the next run cuts off. So a run that continues another predicts
the same chunks in the same batches, and its probabilities have the same last digits.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from app.bulk.prediction_columns import PredictionColumns
from app.core.errors import DataError


class Journal:
    """The predictions of one run; a context manager. `discard` deletes it when the output exists.

    Args:
        path: the file, which may exist.
        about: what the predictions depend on, by name; a run with the same continues the file.
        out: the output of the run, for messages.

    Raises:
        DataError: the file is that of another run.
    """

    def __init__(self, path: Path, about: Mapping[str, str], out: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("a+b")
        self._file.seek(0)
        self._start = self._end = self.rows = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            if not self._end:
                self._check_same_run(json.loads(line), about, out)
                self._start = len(line)
            else:
                self.rows += len(json.loads(line))
            self._end += len(line)
        self._file.truncate(self._end)
        if not self._end:
            self._start = self._append(about)

    def _check_same_run(
        self, before: Mapping[str, str], about: Mapping[str, str], out: Path
    ) -> None:
        try:
            check_same_run(before, about, out, str(self._path))
        except DataError:
            self._file.close()
            raise

    def add(self, answers: Sequence[PredictionColumns]) -> None:
        """Append the predictions of the next chunk; they are on the disk when this returns."""
        self._append(answers)
        self.rows += len(answers)

    def _append(self, value: Mapping[str, str] | Sequence[PredictionColumns]) -> int:
        content = json.dumps(value, ensure_ascii=False).encode() + b"\n"
        self._file.write(content)
        self._file.flush()
        os.fsync(self._file.fileno())
        return len(content)

    def answers(self) -> Iterator[PredictionColumns]:
        """Yield the predictions of all rows, in order."""
        with self._path.open("rb") as file:
            file.seek(self._start)
            for line in file:
                yield from json.loads(line)

    def discard(self) -> None:
        """Delete the file."""
        self._path.unlink()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def check_same_run(
    before: Mapping[str, str], about: Mapping[str, str], out: object, leftover: str
) -> None:
    """Check that an unfinished run may be continued.

    Args:
        before: what its predictions depend on, by name.
        about: what those of the new run depend on.
        out: the output of the run, for messages.
        leftover: what to delete to give the unfinished run up, for messages.

    Raises:
        DataError: they differ.
    """
    changed = [name for name in about if before.get(name) != about[name]]
    if changed:
        raise DataError.at(
            out,
            f"an interrupted run with another {' and '.join(changed)} is unfinished; "
            f"repeat it to finish it, or delete {leftover} to begin anew.",
        )
