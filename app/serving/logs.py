"""The log's formats: text lines for people, JSON lines for log collectors.

A line that is logged while a request is handled has the request's id. No line has an ad's text.
"""

import json
import logging
import logging.config
import time
from typing import Any, Literal

from app.serving.request_trace import current

encode_json = json.JSONEncoder(ensure_ascii=False).encode


def fields_of(record: logging.LogRecord, process: str) -> dict[str, Any]:
    """Return a line's fields: those passed as `extra={"fields": ...}`, request id and process."""
    fields: dict[str, Any] = getattr(record, "fields", {})
    if request_id := current().request_id:
        fields = {**fields, "request_id": request_id}
    if process:
        fields = {**fields, "process": process}
    return fields


class TextFormatter(logging.Formatter):
    """One line: time, level, message, then `name=value` for each field; a traceback follows it."""

    def __init__(self, process: str = "") -> None:
        super().__init__("%(asctime)s %(levelname)-8s %(message)s", "%H:%M:%S")
        self._process = process

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the library's name
        """Return the line without its traceback."""
        fields = (f" {name}={value}" for name, value in fields_of(record, self._process).items())
        # uvicorn ends its message for a traceback with an empty line.
        return super().formatMessage(record).rstrip() + "".join(fields)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC, ISO 8601), level, logger, message, fields, traceback."""

    converter = staticmethod(time.gmtime)

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields_of(record, self._process),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return encode_json(line)


def configure_logs(log_format: Literal["text", "json"], process: str = "") -> None:
    """Write all log records of level INFO and above to stderr, in one format.

    Args:
        log_format: text for people, or JSON for collectors.
        process: this process's name where several serve together; a field of every line.
    """
    formatter = JsonFormatter if log_format == "json" else TextFormatter
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": formatter, "process": process}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            # The server logs its own start and end; uvicorn's lines would repeat them.
            "loggers": {"uvicorn.error": {"level": "WARNING"}},
            "root": {"level": "INFO", "handlers": ["stderr"]},
        }
    )
