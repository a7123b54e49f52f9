"""Raw HTTP/1.1 over persistent connections, and the rules for every response."""

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPResponse
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from jsonschema import Draft202012Validator

KEY = "a-key-of-good-length"
PROBLEM = "application/problem+json"
BEFORE_A_REQUEST = {"malformed-request": 400, "request-header-fields-too-large": 431}
"""Problem types and statuses of bytes that never became a request; not in the OpenAPI document."""
PAGES = {
    "/": "text/html; charset=utf-8",
    "/docs": "text/html; charset=utf-8",
    "/openapi.json": "application/json",
    "/page/page.js": "text/javascript; charset=utf-8",
    "/docs/swagger-ui.css": "text/css; charset=utf-8",
}
"""Paths outside the OpenAPI document, with their media types."""


@dataclass(frozen=True)
class RawRequest:
    """A request as it is sent; nothing is checked or corrected."""

    method: str = "POST"
    target: bytes = b"/classify"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""

    def raw(self) -> bytes:
        headers = list(self.headers)
        if not any(
            name.lower() in (b"content-length", b"transfer-encoding") for name, _ in headers
        ):
            headers.append((b"content-length", b"%d" % len(self.body)))
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        line = b"%s %s HTTP/1.1\r\nhost: test\r\n" % (self.method.encode(), self.target)
        return line + lines + b"\r\n" + self.body


@dataclass(frozen=True)
class Answer:
    """A response; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """A persistent connection, opened again if the server has closed it."""

    def __init__(self, address: str, timeout: float = 60) -> None:
        parts = urlsplit(address)
        self._address, self._timeout = (parts.hostname, parts.port), timeout
        self._socket: socket.socket | None = None

    def ask(self, sent: RawRequest) -> Answer:
        return self.exchange(sent.raw(), sent.method)

    def exchange(self, raw: bytes, method: str = "POST") -> Answer:
        """Send bytes and read one response."""
        reused = self._socket is not None
        try:
            return self._exchange(raw, method)
        except ConnectionError:
            # The server may close an idle connection at any time.
            if not reused:
                raise
            self.close()
            return self._exchange(raw, method)

    def _exchange(self, raw: bytes, method: str) -> Answer:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, self._timeout)
        with suppress(ConnectionError):  # refused while sending; the response is there anyway
            self._socket.sendall(raw)
        with HTTPResponse(self._socket, method=method) as response:
            response.begin()
            body = response.read()
            closing = response.will_close
        headers = {name.lower(): value for name, value in response.getheaders()}
        if closing:
            self.close()
        return Answer(response.status, headers, body)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def post(
    body: bytes | object, target: bytes = b"/classify", key: str = KEY, **headers: str
) -> RawRequest:
    """Make a well-formed POST request with a body: bytes as they are, anything else as JSON.

    Headers are given with underscores; an empty value leaves the header out.
    """
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    return RawRequest(
        "POST",
        target,
        tuple((name.encode(), value.encode()) for name, value in given.items() if value),
        content,
    )


class Contract:
    """Checks responses against the OpenAPI document, and against rules for all other paths."""

    def __init__(self, address: str) -> None:
        self.document = httpx.get(f"{address}/openapi.json").json()
        self.operations: dict[tuple[str, str], dict[str, Any]] = {
            (verb.upper(), path): operation
            for path, operations in self.document["paths"].items()
            for verb, operation in operations.items()
        }
        self.paths = set(self.document["paths"]) | set(PAGES)
        self._validators: dict[str, Draft202012Validator] = {}
        self._problem = self._validator({"$ref": "#/components/schemas/Problem"})

    def check(self, method: str, path: str, answer: Answer) -> None:
        """Check that a request of this method and path may get this response.

        Args:
            method: as sent.
            path: as the server routes it: decoded, without its query.
            answer: the response.
        """
        assert answer.headers["x-request-id"], answer
        if answer.status >= 400:
            self._check_problem(method, answer)
            if method != "HEAD" and self._is_before_a_request(answer):
                return
        assert answer.headers["x-content-type-options"] == "nosniff"
        if (operation := self.operations.get((method, path))) is not None:
            self._check_operation(operation, answer)
        elif method == "GET" and path in PAGES:
            assert (answer.status, answer.headers["content-type"]) == (200, PAGES[path])
        else:
            assert answer.status == (405 if path in self.paths else 404), answer

    def _check_operation(self, operation: dict[str, Any], answer: Answer) -> None:
        documented = operation["responses"]
        assert str(answer.status) in documented, f"{answer.status} is not documented: {answer}"
        content = documented[str(answer.status)]["content"]
        media_type = answer.headers["content-type"].split(";")[0]
        assert media_type in content, answer
        if media_type == "application/json":
            self._validator(content[media_type]["schema"]).validate(answer.json())
        if media_type == "application/x-ndjson":
            for line in answer.body.splitlines():
                self._validator(content[media_type]["schema"]).validate(json.loads(line))

    def _check_problem(self, method: str, answer: Answer) -> None:
        assert answer.headers["content-type"] == PROBLEM, answer
        if method == "HEAD":
            assert not answer.body
            return
        problem = answer.json()
        self._problem.validate(problem)
        assert problem["status"] == answer.status
        assert problem["request_id"] == answer.headers["x-request-id"]
        assert problem["title"]
        assert problem["detail"]
        assert len(answer.body) < 4000

    def _is_before_a_request(self, answer: Answer) -> bool:
        kind = answer.json()["type"].removeprefix("urn:doppelkopf:problem:")
        if kind not in BEFORE_A_REQUEST:
            return False
        assert answer.status == BEFORE_A_REQUEST[kind]
        assert answer.headers["connection"] == "close"
        return True

    def _validator(self, schema: dict[str, Any]) -> Draft202012Validator:
        name = json.dumps(schema)
        if name not in self._validators:
            complete = {**schema, "components": self.document["components"]}
            self._validators[name] = Draft202012Validator(complete)
        return self._validators[name]
