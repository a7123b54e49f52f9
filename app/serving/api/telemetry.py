"""Middleware that gives each request an id, measures it, and writes its line in the access log."""

import logging
import re
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import ClientLeftError, ServiceError
from app.serving.metrics import Metrics
from app.serving.request_trace import Trace, set_current

access = logging.getLogger("app.access")

REQUEST_ID = "X-Request-Id"
SERVER_TIMING = "Server-Timing"
WELL_FORMED = re.compile(r"[A-Za-z0-9._:-]{1,128}")
TIMED_ANSWER: dict[str, Any] = {
    "description": "the answer, and how long it took",
    "headers": {
        SERVER_TIMING: {
            "description": "milliseconds of tokenizing, of waiting for the first batch, from then "
            "until all ads had their scores, of an explanation, and in total",
            "schema": {
                "type": "string",
                "examples": ["tokenize;dur=0.61, queue;dur=0.12, batch;dur=41.80, total;dur=43.95"],
            },
        }
    },
}
"""The header that `Telemetry` adds, as the OpenAPI document describes it."""

UNROUTED = "unmatched"
"""The route in metrics and log lines for requests that match no route."""

PROBES = ("/health", "/health/live", "/health/ready", "/metrics")
"""Routes that monitoring requests every few seconds: only failures are written to the log."""


def request_id(scope: Scope) -> str:
    """Return the id of a request that passed `Telemetry`."""
    identity: str = scope["state"]["request_id"]
    return identity


def given_or_new_id(scope: Scope) -> str:
    """Return the request's own id if it is well formed, else a new one."""
    given = Headers(scope=scope).get(REQUEST_ID, "")
    return given if WELL_FORMED.fullmatch(given) else uuid.uuid4().hex


class Telemetry:
    """Gives each request an id, counts and times it, and logs one line when it has ended.

    Metrics and the line name the route's template, never the raw path. Of the request, the line
    contains only the method and the id.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = given_or_new_id(scope)
        scope.setdefault("state", {})["request_id"] = identity
        trace = Trace(identity)
        # Not reset at the end: uvicorn logs an exception that passes through here later, and that
        # line needs the request's id too.
        set_current(trace)
        status, size = 0, 0

        async def send_with_id(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = identity
                headers[SERVER_TIMING] = trace.server_timing()
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)
            size += len(message.get("body", b""))

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            # The handler of unexpected errors answers it, outside of this middleware.
            status = ServiceError.status
            trace.reason = "unexpected"
            raise
        finally:
            self._record(scope, trace, status or ClientLeftError.status, size)

    def _record(self, scope: Scope, trace: Trace, status: int, size: int) -> None:
        route = getattr(scope.get("route"), "path", UNROUTED)
        seconds = trace.seconds
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        if access.isEnabledFor(logging.INFO) and (status >= 400 or route not in PROBES):
            fields = {"method": scope["method"], "route": route, "status": status, "bytes": size}
            access.info("request", extra={"fields": fields | _timing_fields(trace, seconds)})


def _timing_fields(trace: Trace, seconds: float) -> dict[str, Any]:
    """Return a trace's fields of a log line: milliseconds in total and of each stage reached."""
    fields: dict[str, Any] = {"total_ms": round(seconds * 1000, 2)}
    if trace.ads:
        fields |= {"ads": trace.ads, "tokens": trace.tokens}
    fields |= {f"{stage}_ms": round(spent * 1000, 2) for stage, spent in trace.stages().items()}
    if trace.reason:
        fields["reason"] = trace.reason
    return fields
