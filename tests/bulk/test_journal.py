"""Incomplete journals are tested with whole runs, in `test_predict.py`."""

import pytest

from app.bulk.journal import Journal
from app.core.errors import DataError


def test_an_unfinished_run_is_not_continued_by_another(tmp_path):
    out, path = tmp_path / "o.csv", tmp_path / ".o.csv.answers"
    with Journal(path, {"input": "a", "format": "text"}, out) as journal:
        journal.add([{"prediction_error": "x"}])
    with pytest.raises(DataError, match=r"o\.csv.*run with another input is unfinished"):
        Journal(path, {"input": "b", "format": "text"}, out)
    with Journal(path, {"input": "a", "format": "text"}, out) as journal:
        assert journal.rows == 1


def test_a_journal_returns_all_its_answers_in_order(tmp_path):
    out, path = tmp_path / "o.csv", tmp_path / "new" / "journal"
    with Journal(path, {"input": "a"}, out) as journal:
        journal.add([{"n": 1}, {"n": 2}])
        journal.add([{"n": "ü"}])
        assert journal.rows == 3
        assert list(journal.answers()) == [{"n": 1}, {"n": 2}, {"n": "ü"}]
        journal.discard()
    assert not path.exists()
