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


def formatted(formatter, made, request_id=None):
    """Format a record; with a request id, as it is formatted inside that request."""

    def in_request():
        if request_id:
            set_current(Trace(request_id))
        return formatter.format(made)

    return copy_context().run(in_request)


def caught_error():
    try:
        raise ValueError("broken")
    except ValueError:
        return sys.exc_info()


def test_a_json_line_has_time_level_logger_and_message():
    line = json.loads(formatted(JsonFormatter(), record()))
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "logger": "app.x", "message": "3 Ämter"}


def test_a_json_line_has_the_fields_and_the_request_id():
    line = json.loads(formatted(JsonFormatter(), record(status=200, route="/x"), "a1"))
    assert (line["status"], line["route"], line["request_id"]) == (200, "/x", "a1")


def test_a_text_line_ends_with_fields_and_request_id():
    line = formatted(TextFormatter(), record(status=200, route="/x"), "a1")
    assert line.endswith("INFO     3 Ämter status=200 route=/x request_id=a1")
    assert formatted(TextFormatter(), record()).endswith("INFO     3 Ämter")


def test_a_line_names_its_process_where_several_serve():
    assert formatted(TextFormatter("worker-1"), record(), "a1").endswith(
        "3 Ämter request_id=a1 process=worker-1"
    )
    assert json.loads(formatted(JsonFormatter("worker-1"), record()))["process"] == "worker-1"


def test_a_json_line_contains_the_traceback():
    line = formatted(JsonFormatter(), record(caught_error()), "a1")
    assert "\n" not in line
    assert "ValueError: broken" in json.loads(line)["traceback"]
    assert json.loads(line)["request_id"] == "a1"


def test_a_text_traceback_follows_the_line_with_the_request_id():
    first, *rest = formatted(TextFormatter(), record(caught_error()), "a1").splitlines()
    assert first.endswith("3 Ämter request_id=a1")
    assert rest[-1] == "ValueError: broken"


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_the_request_id_is_not_on_the_next_line(formatter):
    made = record()
    assert "a1" in formatted(formatter, made, "a1")
    assert "a1" not in formatted(formatter, made)
