import json
import logging
import sys
from contextvars import copy_context

import pytest

from app.serving.logs import JsonFormatter, TextFormatter
from app.serving.request_trace import Trace, set_current


def record(exc_info=None, **fields):
    made = logging.LogRecord("app.x", logging.INFO, "x.py", 1, "%d Ämter", (3,), exc_info)
    if fields:
        made.fields = fields
    return made


def written(formatter, made, request_id=None):
    """Write a record, inside of a request where one is named."""

    def write():
        if request_id:
            set_current(Trace(request_id))
        return formatter.format(made)

    return copy_context().run(write)


def broken():
    try:
        raise ValueError("broken")
    except ValueError:
        return sys.exc_info()


def test_a_json_line_holds_time_level_logger_and_message():
    line = json.loads(written(JsonFormatter(), record()))
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "logger": "app.x", "message": "3 Ämter"}


def test_a_json_line_holds_each_field_and_the_id_of_its_request():
    line = json.loads(written(JsonFormatter(), record(status=200, route="/x"), "a1"))
    assert (line["status"], line["route"], line["request_id"]) == (200, "/x", "a1")


def test_a_text_line_ends_with_its_fields_and_the_id_of_its_request():
    line = written(TextFormatter(), record(status=200, route="/x"), "a1")
    assert line.endswith("INFO     3 Ämter status=200 route=/x request_id=a1")
    assert written(TextFormatter(), record()).endswith("INFO     3 Ämter")


def test_a_line_of_one_of_several_processes_ends_with_its_name():
    assert written(TextFormatter("worker-1"), record(), "a1").endswith(
        "3 Ämter request_id=a1 process=worker-1"
    )
    assert json.loads(written(JsonFormatter("worker-1"), record()))["process"] == "worker-1"


def test_a_json_traceback_stays_on_its_line():
    line = written(JsonFormatter(), record(broken()), "a1")
    assert "\n" not in line
    assert "ValueError: broken" in json.loads(line)["traceback"]
    assert json.loads(line)["request_id"] == "a1"


def test_a_text_traceback_follows_the_line_that_has_the_id():
    first, *rest = written(TextFormatter(), record(broken()), "a1").splitlines()
    assert first.endswith("3 Ämter request_id=a1")
    assert rest[-1] == "ValueError: broken"


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_nothing_of_a_request_stays_on_the_next_line(formatter):
    made = record()
    assert "a1" in written(formatter, made, "a1")
    assert "a1" not in written(formatter, made)
