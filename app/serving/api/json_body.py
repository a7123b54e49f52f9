"""Reads and parses JSON bodies within limits on bytes and on values.

Parsed objects and arrays take about a hundred times the memory of their bytes, so a limit on bytes
alone would let a small body fill the memory.
"""

import json
import re
from functools import partial
from typing import Any, NamedTuple

from fastapi import Request
from starlette.requests import ClientDisconnect

from app.core.errors import (
    BodyTooLargeError,
    ClientLeftError,
    InvalidRequestError,
    MalformedBodyError,
    MediaTypeError,
)

JSON = re.compile(r"application/(?:[a-z0-9.-]+\+)?json")
# Linear in the body's length: the quantifiers are possessive and the closing quote is optional, so
# the search never goes back.
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
SPARE_VALUES = 1000
"""Values that any body may have, so that wrong ones get an error that names a field."""

VALUES_AN_AD = 10
"""More than an ad needs: it has four fields, each a name and a value, and braces."""


class BodyLimits(NamedTuple):
    """Limits of a JSON body: its bytes, and its values by how many items it may hold."""

    max_bytes: int
    max_items: int
    values_an_item: int = VALUES_AN_AD

    @property
    def max_values(self) -> int:
        """Fields and values that the body may have."""
        return SPARE_VALUES + self.values_an_item * self.max_items


class JsonRequest(Request):
    """A request whose body is JSON; call `load` before anything that needs the body."""

    async def load(self, limits: BodyLimits) -> None:
        """Read the body and parse it.

        Raises:
            MediaTypeError: the headers announce something else than JSON, or compression.
            BodyTooLargeError: the announced size or what arrived is above the limit.
            ClientLeftError: the client disconnected before the body was complete.
            MalformedBodyError: the body is not JSON in UTF-8.
            InvalidRequestError: an object has a field twice, or there are too many values.
        """
        require_media_type(self, JSON, "Send JSON, with 'Content-Type: application/json'.")
        self._content = await self._read(limits.max_bytes)
        self._value = parse_json(self._content, limits.max_values)

    async def body(self) -> bytes:
        """Return the body's bytes."""
        return self._content

    async def json(self) -> Any:
        """Return the parsed body."""
        return self._value

    async def _read(self, max_bytes: int) -> bytes:
        announced = self.headers.get("content-length", "")
        content = bytearray()
        try:
            if not announced.isdecimal() or int(announced) <= max_bytes:
                async for chunk in self.stream():
                    content += chunk
                    if len(content) > max_bytes:
                        break
                else:
                    return bytes(content)
        except ClientDisconnect as error:
            raise ClientLeftError(
                "The client disconnected before its body was complete."
            ) from error
        raise BodyTooLargeError(
            f"The body is larger than {max_bytes} bytes; send fewer ads at once."
        )


def require_media_type(request: Request, names: re.Pattern[str], advice: str) -> None:
    """Return if a request's headers announce an accepted media type without compression.

    Args:
        request: its body is not read.
        names: matches the accepted media types.
        advice: the error message for any other type.

    Raises:
        MediaTypeError: they announce another media type, or compression.
    """
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if not names.fullmatch(media_type):
        raise MediaTypeError(advice)
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise MediaTypeError("Send the body as it is, without a Content-Encoding.")


def parse_json(body: bytes, max_values: int, noun: str = "body") -> Any:
    """Parse JSON more strictly than the standard library.

    Strings, braces, brackets and commas are counted first, before anything is built: each object
    of `{},{},{},...` takes a hundred times its bytes, and may cause an error message too.

    Args:
        body: the JSON.
        max_values: fields and values it may have.
        noun: what error messages call the body.

    Raises:
        MalformedBodyError: the body is not JSON in UTF-8, or nested too deep.
        InvalidRequestError: an object has a field twice, or there are too many values.
    """
    rest, strings = STRING.subn(b"", body, count=max_values + 1)
    if max(strings, sum(map(rest.count, (b"{", b"[", b",")))) > max_values:
        raise InvalidRequestError(
            f"{noun}: it has more fields and values than the server takes; send fewer ads at once."
        )
    try:
        # Programs on Windows put a byte order mark before UTF-8; JSON has no other encoding
        # (RFC 8259).
        text = body.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=partial(_unique, noun), parse_constant=_refuse)
    except RecursionError as error:
        raise MalformedBodyError(f"The {noun} is not JSON: it is nested too deep.") from error
    except UnicodeDecodeError as error:
        raise MalformedBodyError(f"The {noun} is not JSON in UTF-8.") from error
    except json.JSONDecodeError as error:
        raise MalformedBodyError(f"The {noun} is not JSON: {error}.") from error
    except ValueError as error:  # a number of thousands of digits, or NaN
        raise MalformedBodyError(f"The {noun} is not JSON: a number cannot be read.") from error


def _unique(noun: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object; refuse repeated fields, since parsers disagree on which of them counts."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InvalidRequestError(f"{noun}: the field {name!r} is there twice.")
    return fields


def _refuse(constant: str) -> None:
    raise ValueError(constant)
