"""JSON bodies: read up to a size, and parsed for less than a client paid to send them."""

import json
import re
from functools import partial
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from app.errors import (
    BodyTooLargeError,
    ClientLeftError,
    InvalidRequestError,
    MalformedBodyError,
    MediaTypeError,
)

JSON = re.compile(r"application/(?:[a-z0-9.-]+\+)?json")
# Possessive, and content with an open end: it never tries anything twice, so it is linear.
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
SPARE_VALUES = 1000
VALUES_AN_AD = 10
"""More than the four fields of an ad, their names and its braces need."""

VALUES_A_POSTING = 200
"""A JobPosting of all properties, with its organisation, its places and its salary, needs 150."""


class JsonRequest(Request):
    """A request whose body is JSON: first `load`, then the rest."""

    async def load(self, max_bytes: int, max_ads: int, values_an_ad: int = VALUES_AN_AD) -> None:
        """Read the body and parse it.

        Args:
            max_bytes: size of the body.
            max_ads: limits how many values the body may have,
            values_an_ad: with so many for each.

        Raises:
            MediaTypeError: the body is said to be something else, or compressed.
            BodyTooLargeError: by what it announces, or by what arrives.
            ClientLeftError: the client left before the body was complete.
            MalformedBodyError: the body is not JSON in UTF-8.
            InvalidRequestError: a field is there twice, or there are too many values.
        """
        self._check_media_type()
        self._content = await self._read(max_bytes)
        self._value = parse(self._content, SPARE_VALUES + values_an_ad * max_ads)

    async def body(self) -> bytes:
        """Return the bytes that were read."""
        return self._content

    async def json(self) -> Any:
        """Return the parsed value."""
        return self._value

    def _check_media_type(self) -> None:
        media_type = self.headers.get("content-type", "").split(";")[0].strip().lower()
        if not JSON.fullmatch(media_type):
            raise MediaTypeError("Send JSON, with 'Content-Type: application/json'.")
        if self.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise MediaTypeError("Send the body as it is, without a Content-Encoding.")

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
            raise ClientLeftError("The client left before its body was complete.") from error
        raise BodyTooLargeError(
            f"The body is larger than {max_bytes} bytes; send fewer ads at once."
        )


def parse(body: bytes, max_values: int, noun: str = "body") -> Any:
    """Parse JSON more strictly than the standard library.

    Objects and arrays cost a hundred times their bytes once parsed, and each wrong one an error
    message beside it: so `{},{},{},...` is counted, strings left out, before anything is made.

    Args:
        body: the JSON.
        max_values: fields and values it may have.
        noun: what messages call it.

    Raises:
        MalformedBodyError: it is not JSON in UTF-8, or nested too deep.
        InvalidRequestError: a field is there twice, or there are more than `max_values` values.
    """
    rest, strings = STRING.subn(b"", body, count=max_values + 1)
    if max(strings, sum(map(rest.count, (b"{", b"[", b",")))) > max_values:
        raise InvalidRequestError(
            f"{noun}: it has more fields and values than the server takes; send fewer ads at once."
        )
    try:
        # Windows puts a byte order mark before UTF-8; any other encoding is no JSON (RFC 8259).
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
    """Make an object; parsers disagree on which of two equal names counts, so neither does."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InvalidRequestError(f"{noun}: the field {name!r} is there twice.")
    return fields


def _refuse(constant: str) -> None:
    raise ValueError(constant)
