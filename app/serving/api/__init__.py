"""The HTTP API: routes, errors as problem documents, telemetry, and the try-it page."""
