import tracemalloc

import pytest

from app.schemas.ndjson import Line, LineReader

BODY = b'{"a": 1}\n\n{"b": 2}\r\n  \n{"c": "\xc3\xbc"}'
LINES = [(1, b'{"a": 1}'), (3, b'{"b": 2}\r'), (5, b'{"c": "\xc3\xbc"}')]


def cut(body, size):
    return [body[start : start + size] for start in range(0, len(body), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_are_the_same_wherever_the_body_was_cut(size):
    reader = LineReader(1, 100)
    lines = [line for part in cut(BODY, size) for line in reader.feed(part)]
    assert [(line.number, line.content) for line in lines + reader.end()] == LINES


def test_numbering_starts_at_the_given_line():
    assert LineReader(1001, 100).feed(b"a\nb\n") == [Line(1001, b"a"), Line(1002, b"b")]


def test_an_empty_body_has_no_line():
    reader = LineReader(1, 10)
    assert reader.feed(b"") + reader.end() == []


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_a_line_above_the_limit_has_no_content(size):
    body = b"a" * 10 + b"\n" + b"b" * 11 + b"\n" + b"c\n"
    reader = LineReader(1, 10)
    lines = [line for part in cut(body, size) for line in reader.feed(part)]
    assert lines == [Line(1, b"a" * 10), Line(2, None), Line(3, b"c")]
    assert lines[1].size == 0


def test_a_line_without_end_is_not_kept():
    reader, chunk = LineReader(1, 10_000), b"a" * 4096
    tracemalloc.start()
    for _ in range(1000):
        assert reader.feed(chunk) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
    assert reader.end() == [Line(1, None)]
