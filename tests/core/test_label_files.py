import json

import pytest

from app.core.errors import DataError
from app.core.label_files import did_you_mean, read_labels
from tests.conftest import HEADS


def write(tmp_path, content):
    file = tmp_path / "labels.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_label_file_holds_both_heads(tmp_path):
    content = {name: head.model_dump() for name, head in HEADS.items()}
    assert read_labels(write(tmp_path, content)) == HEADS


TWO = {"labels": ["a", "b"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{oops", "is not a JSON file"),
        ([], "is an object with job_category and min_education"),
        ({"job_category": TWO}, "not with job_category"),
        ({"job_category": TWO, "min_education": {"labels": ["a"]}}, "at least two labels"),
        ({"job_category": TWO, "min_education": {"labels": ["a", "a"]}}, "'a' appears twice"),
        ({"job_category": TWO, "min_education": {**TWO, "names": {"de": ["A"]}}}, "1 names in"),
        ({"job_category": TWO, "min_education": {**TWO, "sorted": True}}, "min_education.sorted"),
        ({"job_category": TWO, "min_education": {**TWO, "codes": {"x": []}}}, "codes of 'x' for 0"),
    ],
)
def test_malformed_file_is_rejected_with_file_and_field(tmp_path, content, message):
    file = write(tmp_path, content)
    with pytest.raises(DataError, match=message) as error:
        read_labels(file)
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)


def test_missing_file_is_rejected(tmp_path):
    with pytest.raises(DataError, match="no such label file"):
        read_labels(tmp_path / "labels.json")


def test_nearest_label_is_suggested_ignoring_case():
    assert did_you_mean("NURSIN", ("Cooking", "Nursing")) == "; did you mean 'Nursing'?"
    assert did_you_mean("xyz", ("Cooking", "Nursing")) == "."
