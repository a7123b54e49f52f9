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


def drawn() -> dict[str, tuple[str, int | None]]:
    """Read the module docstring's tree: by class its parent and its status."""
    lines = [line for line in (errors.__doc__ or "").splitlines() if "Error" in line]
    found: dict[str, tuple[str, int | None]] = {}
    above: list[tuple[int, str]] = []
    for line in lines:
        name = re.search(r"\w+Error", line)
        assert name is not None
        above = [one for one in above if one[0] < name.start()]
        status = re.search(r"\b[45]\d\d\b", line)
        found[name.group()] = (above[-1][1] if above else "Exception", status and int(status[0]))
        above.append((name.start(), name.group()))
    return found


def test_the_drawn_tree_is_the_real_one():
    assert {name: parent for name, (parent, _) in drawn().items()} == {
        one.__name__: one.__base__.__name__ for one in CLASSES
    }


def test_each_service_error_has_the_status_that_is_drawn_and_a_title():
    for one in CLASSES:
        if issubclass(one, ServiceError) and one is not ServiceError:
            assert one.status == drawn()[one.__name__][1], one
            assert one.title
            assert "\n" not in one.title


def test_what_stops_the_start_is_no_service_error():
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
def test_a_data_error_names_file_row_and_column(place, sentence):
    assert str(DataError.at("ads.csv", "it is empty", **place)) == sentence


def test_overloaded_carries_its_seconds_and_its_reason():
    error = OverloadedError("busy", 7, "queue_full")
    assert (str(error), error.retry_after, error.reason) == ("busy", 7, "queue_full")


SENT = [one for one in CLASSES if issubclass(one, ServiceError)]


@pytest.mark.parametrize("kind", SENT, ids=lambda kind: kind.__name__)
def test_a_request_fails_with_the_same_words_where_the_error_came_from_another_process(kind):
    error = kind("busy", 7, "queue_full") if kind is OverloadedError else kind("busy")
    come = pickle.loads(pickle.dumps(error))  # noqa: S301  our own
    assert type(come) is kind
    assert (str(come), come.reason, come.headers) == (str(error), error.reason, error.headers)
    assert getattr(come, "retry_after", None) == getattr(error, "retry_after", None)


def test_a_lost_device_is_caught_as_an_engine_error_too():
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
def test_the_first_line_of_an_error_ends_without_a_stop(message, line):
    assert first_line(ValueError(message)) == line
