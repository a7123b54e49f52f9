"""Where the sentences of an ad begin and end: lines and list items first, then sentence ends.

Half of an ad is headings and items without a full stop, in German, English or French, so its line
breaks tell more than any language's grammar. Libraries for sentences split prose of a language
that has to be named, and none that is kept up reads lists; so the rule is the simplest that does.
"""

import re
from itertools import pairwise

Span = tuple[int, int]
"""Where a text's part begins and where it has ended, in Unicode code points."""

# What ends a sentence with its closing marks, before white space; or white space before a bullet in
# the middle of a line. Possessive, and a run is tried from its first character alone: linear.
BOUNDARY = re.compile(
    r"(?<![.!?…])[.!?…]++[\"'»«›‹“”‘’)\]]*+(?=\s)|\s(?=[•●▪■◦‣✓✔➤►·]\s)",
)

# Behind these a full stop ends no sentence; nor behind a single letter ("z. B.", "M. A.") or a
# number ("1. Januar", "ab dem 15. eines Monats").
ABBREVIATIONS = frozenset({
    "abs", "abt", "allg", "bspw", "bzgl", "bzw", "ca", "chap", "dipl", "dr", "env", "etc", "evtl",
    "fr", "gem", "ggf", "ggfs", "hr", "inc", "ing", "inkl", "insb", "jr", "kfm", "km", "lfd", "ltd",
    "max", "min", "mind", "mio", "mme", "mr", "mrs", "ms", "mwst", "nr", "od", "pers", "prof", "qm",
    "rd", "resp", "sen", "sog", "st", "std", "str", "tel", "tgl", "tägl", "tlw", "usw", "vgl", "vs",
    "zzgl",
})  # fmt: skip
LONGEST = max(map(len, ABBREVIATIONS))


def sentences(text: str) -> list[Span]:
    """Return the sentences, headings and list items in order, without the white space around.

    Parts without a letter or digit, as lines of dashes, are none.
    """
    found: list[Span] = []
    place = 0
    for line in text.splitlines(keepends=True):
        end = place + len(line)
        begin = place
        for boundary in BOUNDARY.finditer(text, place, end):
            if not _goes_on(text, boundary.start(), boundary.end()):
                found.append((begin, boundary.end()))
                begin = boundary.end()
        found.append((begin, end))
        place = end
    return [span for start, end in found if (span := _trimmed(text, start, end))]


def merged(spans: list[Span], most: int) -> list[Span]:
    """Join neighbours so that at most so many are left, each of about as many as the others."""
    if len(spans) <= most:
        return spans
    edges = [round(index * len(spans) / most) for index in range(most + 1)]
    return [(spans[first][0], spans[last - 1][1]) for first, last in pairwise(edges)]


def _goes_on(text: str, start: int, end: int) -> bool:
    """Tell whether a full stop is one of an abbreviation or of a number."""
    if text[start:end] != ".":
        return False
    if end + 1 < len(text) and text[end + 1].islower():
        return True
    begin = start
    while begin > max(0, start - LONGEST - 1) and text[begin - 1].isalnum():
        begin -= 1
    word = text[begin:start].casefold()
    # Years end sentences; days, items and the numbers of floors do not.
    return len(word) == 1 or word in ABBREVIATIONS or (word.isdecimal() and len(word) <= 2)


def _trimmed(text: str, start: int, end: int) -> Span | None:
    part = text[start:end]
    if not any(map(str.isalnum, part)):
        return None
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())
