import asyncio
import json
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.errors import InvalidRequestError, MalformedBodyError
from app.serving.api.jobposting.route import VALUES_A_POSTING
from app.serving.api.json_body import VALUES_AN_AD, BodyLimits, JsonRequest, parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=200, deadline=None, database=None)
@given(VALUES, st.booleans())
def test_valid_json_is_parsed_as_by_the_standard_library(value, escaped):
    body = json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    try:
        body.decode()
    except UnicodeDecodeError:
        return
    assert parse_json(body, 1000) == value


@settings(max_examples=200, deadline=None, database=None)
@given(st.binary() | st.text(alphabet='{}[]",:\\ue1. ').map(str.encode))
def test_arbitrary_bytes_are_parsed_alike_or_refused(body):
    with suppress(MalformedBodyError, InvalidRequestError):
        assert parse_json(body, 1000) == json.loads(body.decode("utf-8-sig"))


def test_a_byte_order_mark_is_skipped():
    assert parse_json(b'\xef\xbb\xbf{"a": 1}', 10) == {"a": 1}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_any_other_encoding_is_refused(encoding):
    with pytest.raises(MalformedBodyError, match="UTF-8"):
        parse_json('{"text": "Köchin"}'.encode(encoding), 10)


@pytest.mark.parametrize(
    "body", [b'{"a": 1, "a": 1}', b'[{"b": {"a": 1, "b": 2, "a": 3}}]', b'{"a":1,"\\u0061":2}']
)
def test_a_field_that_is_there_twice_is_named(body):
    with pytest.raises(InvalidRequestError, match="'a' is there twice"):
        parse_json(body, 100)


@pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"1" * 5000])
def test_numbers_outside_of_json_are_refused(number):
    with pytest.raises(MalformedBodyError, match="number"):
        parse_json(b'{"a": %s}' % number, 100)


def test_deeply_nested_json_is_refused():
    with pytest.raises(MalformedBodyError, match="too deep"):
        parse_json(b"[" * 10_000, 20_000)


def test_only_values_outside_of_strings_count():
    fits = {"text": '{"a": [1, 2, 3], "\\": "' * 100, "b": [1, 2, 3]}
    assert parse_json(json.dumps(fits).encode(), 6) == fits
    with pytest.raises(InvalidRequestError, match="more fields and values"):
        parse_json(json.dumps(fits | {"c": 1}).encode(), 5)


class Incoming:
    """A request's head and body, as the server hands them on."""

    def __init__(self, body):
        self.scope = {
            "type": "http",
            "method": "POST",
            "headers": [(b"content-type", b"application/ld+json")],
        }
        self._body = body

    async def receive(self):
        return {"type": "http.request", "body": self._body, "more_body": False}


def test_a_body_may_have_as_many_values_as_its_items_allow():
    async def load(body, values):
        incoming = Incoming(body)
        request = JsonRequest(incoming.scope, incoming.receive)
        await request.load(BodyLimits(10_000_000, 2, values))
        return await request.json()

    posting = {str(number): "x" for number in range(VALUES_A_POSTING // 2 - 1)}
    body = json.dumps([posting] * 12).encode()
    assert asyncio.run(load(body, VALUES_A_POSTING * 6)) == [posting] * 12
    with pytest.raises(InvalidRequestError, match="more fields and values"):
        asyncio.run(load(body, VALUES_AN_AD))


SIZE = 4 * 2**20
BOMBS = {
    "empty objects": b'{"ads":[' + b",".join([b"{}"] * (SIZE // 3)) + b"]}",
    "empty arrays": b"[" + b",".join([b"[]"] * (SIZE // 3)) + b"]",
    "empty strings": b"[" + b",".join([b'""'] * (SIZE // 3)) + b"]",
    "numbers": b"[" + b",".join([b"1"] * (SIZE // 2)) + b"]",
    "unknown fields": b"{" + b",".join(b'"%x":1' % n for n in range(SIZE // 10)) + b"}",
    "depth": b"[" * SIZE,
    "quotes": b'"' * SIZE,
    "escaped quotes without end": b'"' + b'\\"' * (SIZE // 2),
    "quotes behind backslashes": b'\\"' * (SIZE // 2),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_no_more_than_text_of_its_size(name):
    honest = json.dumps({"text": "Köchin\n" * (SIZE // 14)}).encode()
    assert _seconds(BOMBS[name]) < 5 * _seconds(honest)


def _seconds(body):
    """Take the best of three, in seconds of the processor: the machine may be busy."""
    times = []
    for _ in range(3):
        begin = time.thread_time()
        with suppress(MalformedBodyError, InvalidRequestError):
            parse_json(body, 3000)
        times.append(time.thread_time() - begin)
    return min(times)
