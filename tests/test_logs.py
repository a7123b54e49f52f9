import json
import logging
import sys

from app.logs import JsonFormatter


def record(**extra):
    return logging.LogRecord("app.x", logging.INFO, "x.py", 1, "%d Ämter", (3,), **extra)


def test_a_json_line_holds_time_level_logger_and_message():
    line = json.loads(JsonFormatter().format(record(exc_info=None)))
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "logger": "app.x", "message": "3 Ämter"}


def test_a_traceback_stays_on_its_line():
    try:
        raise ValueError("broken")
    except ValueError:
        written = JsonFormatter().format(record(exc_info=sys.exc_info()))
    assert "\n" not in written
    assert "ValueError: broken" in json.loads(written)["traceback"]
