"""Splits an ad into sentences: at line breaks and list items first, then at sentence ends.

About half of an ad is headings and list items without a full stop, in German, English or French,
so line breaks matter more than the grammar of a language. Sentence splitting libraries need to
know the language and expect prose, and no maintained one handles lists; hence this simple rule.
"""

import re
from itertools import pairwise

Span = tuple[int, int]
"""Start and end (exclusive) of a part of a text, in Unicode code points."""

# Sentence-ending punctuation with its closing quotes or brackets, before white space; or white
# space before a bullet in the middle of a line. Possessive quantifiers, and a run of punctuation is
# tried from its first character only: the time is linear in the text.
BOUNDARY = re.compile(
    r"(?<![.!?…])[.!?…]++[\"'»«›‹“”‘’)\]]*+(?=\s)|\s(?=[•●▪■◦‣✓✔➤►·]\s)",
)

# A full stop after one of these does not end a sentence; nor does one after a single letter
# ("z. B.", "M. A.") or a number ("1. Januar", "ab dem 15. eines Monats").
ABBREVIATIONS = frozenset({
    "abs", "abt", "allg", "bspw", "bzgl", "bzw", "ca", "chap", "dipl", "dr", "env", "etc", "evtl",
    "fr", "gem", "ggf", "ggfs", "hr", "inc", "ing", "inkl", "insb", "jr", "kfm", "km", "lfd", "ltd",
    "max", "min", "mind", "mio", "mme", "mr", "mrs", "ms", "mwst", "nr", "od", "pers", "prof", "qm",
    "rd", "resp", "sen", "sog", "st", "std", "str", "tel", "tgl", "tägl", "tlw", "usw", "vgl", "vs",
    "zzgl",
})  # fmt: skip
LONGEST_ABBREVIATION = max(map(len, ABBREVIATIONS))


def sentences(text: str) -> list[Span]:
    """Return the sentences, headings and list items of a text, in order.

    Spans are without surrounding white space. Parts without a letter or digit, such as a line of
    dashes, are left out.
    """
    found: list[Span] = []
    line_start = 0
    for line in text.splitlines(keepends=True):
        line_end = line_start + len(line)
        start = line_start
        for boundary in BOUNDARY.finditer(text, line_start, line_end):
            if not _is_abbreviation_or_number(text, boundary.start(), boundary.end()):
                found.append((start, boundary.end()))
                start = boundary.end()
        found.append((start, line_end))
        line_start = line_end
    return [span for start, end in found if (span := _stripped(text, start, end))]


def merge_spans(spans: list[Span], most: int) -> list[Span]:
    """Join neighbouring spans, about equally many at a time, until at most `most` are left."""
    if len(spans) <= most:
        return spans
    edges = [round(index * len(spans) / most) for index in range(most + 1)]
    return [(spans[first][0], spans[last - 1][1]) for first, last in pairwise(edges)]


def _is_abbreviation_or_number(text: str, start: int, end: int) -> bool:
    """Return whether `text[start:end]` is a full stop that does not end a sentence."""
    if text[start:end] != ".":
        return False
    if end + 1 < len(text) and text[end + 1].islower():
        return True
    word_start = start
    while word_start > max(0, start - LONGEST_ABBREVIATION - 1) and text[word_start - 1].isalnum():
        word_start -= 1
    word = text[word_start:start].casefold()
    # At most two digits: a day or a list number does not end a sentence, but a year may.
    return len(word) == 1 or word in ABBREVIATIONS or (word.isdecimal() and len(word) <= 2)


def _stripped(text: str, start: int, end: int) -> Span | None:
    """Return the span without surrounding white space; None without a letter or digit."""
    part = text[start:end]
    if not any(map(str.isalnum, part)):
        return None
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())
