import inspect
import pickle
import re

import pytest

from app.core import errors
from app.core.errors import (
    DataError,
    DoppelkopfError,
    FatalEngineError,
    OverloadedError,
    ServiceError,
    StartupError,
    first_line,
)

CLASSES = [
    one
    for _, one in inspect.getmembers(errors, inspect.isclass)
    if issubclass(one, DoppelkopfError)
]


def documented_tree() -> dict[str, tuple[str, int | None]]:
    """Parse the tree in the module's docstring: parent and status by class name."""
    lines = [line for line in (errors.__doc__ or "").splitlines() if "Error" in line]
    found: dict[str, tuple[str, int | None]] = {}
    ancestors: list[tuple[int, str]] = []
    for line in lines:
        name = re.search(r"\w+Error", line)
        assert name is not None
        ancestors = [one for one in ancestors if one[0] < name.start()]
        status = re.search(r"\b[45]\d\d\b", line)
        parent = ancestors[-1][1] if ancestors else "Exception"
        found[name.group()] = (parent, status and int(status[0]))
        ancestors.append((name.start(), name.group()))
    return found


def test_documented_tree_matches_the_classes():
    assert {name: parent for name, (parent, _) in documented_tree().items()} == {
        one.__name__: one.__base__.__name__ for one in CLASSES
    }


def test_service_errors_have_a_title_and_the_documented_status():
    tree = documented_tree()
    for one in CLASSES:
        if issubclass(one, ServiceError) and one is not ServiceError:
            assert one.status == tree[one.__name__][1], one
            assert one.title
            assert "\n" not in one.title


def test_startup_and_service_errors_are_separate_branches():
    assert not issubclass(StartupError, ServiceError)
    assert not issubclass(ServiceError, StartupError)


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ({}, "ads.csv: it is empty"),
        ({"row": 3}, "ads.csv, row 3: it is empty"),
        ({"column": "text"}, "ads.csv, column 'text': it is empty"),
        ({"row": 3, "column": "text"}, "ads.csv, row 3, column 'text': it is empty"),
    ],
)
def test_data_error_names_file_row_and_column(place, sentence):
    assert str(DataError.at("ads.csv", "it is empty", **place)) == sentence


def test_overloaded_error_keeps_retry_after_and_reason():
    error = OverloadedError("busy", 7, "queue_full")
    assert (str(error), error.retry_after, error.reason) == ("busy", 7, "queue_full")


SERVICE_ERRORS = [one for one in CLASSES if issubclass(one, ServiceError)]


@pytest.mark.parametrize("kind", SERVICE_ERRORS, ids=lambda kind: kind.__name__)
def test_service_errors_survive_pickling(kind):
    """Engine processes and replicas send them to the front end that answers the client."""
    error = kind("busy", 7, "queue_full") if kind is OverloadedError else kind("busy")
    received = pickle.loads(pickle.dumps(error))  # noqa: S301  pickled in the same line
    assert type(received) is kind
    assert str(received) == str(error)
    assert (received.reason, received.headers) == (error.reason, error.headers)
    assert getattr(received, "retry_after", None) == getattr(error, "retry_after", None)


def test_fatal_engine_error_is_an_engine_error():
    assert issubclass(FatalEngineError, errors.EngineError)


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("It failed.", "It failed"),
        ("  Cannot read:\n  the file is empty", "Cannot read"),
        ("", "ValueError"),
        ("\n", "ValueError"),
    ],
)
def test_first_line_has_no_full_stop_or_colon(message, line):
    assert first_line(ValueError(message)) == line
