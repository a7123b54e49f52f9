"""HTML to text: what a reader of the ad would see, each block of it on a line of its own.

The parser reads a stream of tags and text and builds no tree: trees are where a hundred kilobytes
of nested tags become gigabytes.
"""

import re
from collections.abc import Mapping

from lxml import etree

from app.core.types import Format

SLICE = 4096
"""Characters of markup that are parsed at once. Reading ends with the slice that holds enough."""

MARKUP_A_CHARACTER = 32
"""How much markup is read for a character of text that the model could read. Editors leave up to
ten; a picture inside of an ad is markup as well."""

MAX_DEPTH = 500
"""Open elements. A closing tag is looked for among them, so many would cost the square."""

ESCAPED_TWICE = 2
"""How often a text that has to be recognised is read as HTML: feeds escape what was escaped."""

INLINE = frozenset({
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em",
    "font", "i", "img", "ins", "kbd", "label", "mark", "nobr", "o:p", "output", "q", "ruby", "s",
    "samp", "small", "span", "strike", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr",
})  # fmt: skip
"""Elements inside of a line. All others, unknown ones too, begin and end one."""

UNSEEN = frozenset({
    "audio", "button", "canvas", "datalist", "iframe", "math", "nav", "noscript", "object",
    "script", "select", "style", "svg", "template", "textarea", "video",
})  # fmt: skip
"""Elements that show no text of the ad."""

INVISIBLE = re.compile("[\N{SOFT HYPHEN}\N{ZERO WIDTH SPACE}\N{WORD JOINER}]")
"""Characters that only say where a line may be broken: they would split words for the model."""

UNDISPLAYED = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)

# Names that are HTML and nothing else: `title` or `section` stand in any XML. Attributes need a
# value, so that "a <b und c> d" is text. Nothing is tried twice and no tag spans a "<": linear.
TAG = re.compile(
    r"<(?:p|br|hr|div|span|ul|ol|li|h[1-6]|table|tbody|tr|td|th|strong|em|font|html|body|img|script"
    r"|style|blockquote|(?:a|b|i|u)(?=\s[^<>=]*+=))(?:\s[^<>=]*+=[^<>]*+(?:>|\Z)|\s*+/?+>)"
    r"|</(?:p|div|span|ul|ol|li|h[1-6]|table|tr|td|th|strong|em|font|a|b|i|u|html|body)\s*+>"
    r"|&(?:nbsp|amp|lt|gt|quot|apos|[aouAOU]uml|szlig|eacute|egrave|[nm]dash|bull|middot|euro"
    r"|rsquo|lsquo|[bl]dquo|rdquo|laquo|raquo|hellip|sect|\#\d{1,7}|\#[xX][0-9a-fA-F]{1,6});",
    re.IGNORECASE,
)


def is_html(text: str) -> bool:
    """Tell whether a text has tags or character references of HTML in it."""
    return TAG.search(text) is not None


def readable(text: str, form: Format, limit: int) -> tuple[str, bool]:
    """Return a text without its markup, if it has any.

    Args:
        text: as it was sent.
        form: how to take it; "auto" reads it as HTML where it looks so.
        limit: characters that the caller can use; reading ends soon after them.

    Returns:
        The text, and whether something was left unread that may have been text.
    """
    if form == "html":
        return visible_text(text, limit)
    cut = False
    for _ in range(ESCAPED_TWICE if form == "auto" else 0):
        # Were the markup to begin behind it, the text before it would be all that is read.
        if not is_html(text[:limit]):
            break
        text, cut_now = visible_text(text, limit)
        cut = cut or cut_now
    return text, cut


def visible_text(markup: str, limit: int) -> tuple[str, bool]:
    """Return the visible text of HTML, blocks on lines of their own and blanks collapsed.

    Reads at most `MARKUP_A_CHARACTER` characters for each of `limit`, and stops as soon as it has
    `limit` characters of text, or elements `MAX_DEPTH` deep.

    Returns:
        As `readable`.
    """
    seen = _Seen()
    parser = etree.HTMLParser(target=seen, encoding="utf-8", collect_ids=False)
    end = min(len(markup), limit * MARKUP_A_CHARACTER)
    place = 0
    while place < end and seen.characters <= limit and seen.depth <= MAX_DEPTH:
        # Half a surrogate pair, as broken scrapers leave it, has no encoding.
        parser.feed(markup[place : min(place + SLICE, end)].encode("utf-8", "replace"))
        place += SLICE
    cut = place < len(markup)
    if markup and not cut:
        parser.close()
    text = INVISIBLE.sub("", "".join(seen.parts))
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line), cut


class _Seen:
    """Told by the parser what comes; keeps what is visible."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.characters = 0
        self.depth = 0
        # The depth of the outermost element that is not shown, while inside of one.
        self._hidden_at: int | None = None

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self.depth += 1
        if self._hidden_at is None and _is_hidden(tag, attributes):
            self._hidden_at = self.depth
        self._break_line(tag)

    def end(self, tag: str) -> None:
        if self._hidden_at == self.depth:
            self._hidden_at = None
        self.depth -= 1
        self._break_line(tag)

    def data(self, text: str) -> None:
        if self._hidden_at is None:
            self.parts.append(text)
            self.characters += sum(map(len, text.split()))

    def close(self) -> None:
        """Nothing is left to do at the end."""

    def _break_line(self, tag: str) -> None:
        if tag not in INLINE:
            self.parts.append("\n")


def _is_hidden(tag: str, attributes: Mapping[str, str]) -> bool:
    if tag in UNSEEN:
        return True
    return bool(attributes) and (
        "hidden" in attributes
        or attributes.get("aria-hidden", "").lower() == "true"
        or UNDISPLAYED.search(attributes.get("style", "")) is not None
    )
