"""Extracts the visible text of HTML, each block on a line of its own.

The parser reports tags and text as events and builds no tree: in a tree, a hundred kilobytes of
nested tags can take gigabytes of memory.
"""

import re
from collections.abc import Mapping

from lxml import etree

from app.core.types import Format

CHUNK_CHARACTERS = 4096
"""Characters of markup passed to the parser at once. Parsing stops after the chunk that completes
the text."""

MARKUP_PER_CHARACTER = 32
"""Characters of markup parsed for each character of text that the model can read. Editors produce
up to ten; an embedded picture counts as markup too."""

MAX_DEPTH = 500
"""Parsing stops at elements nested deeper than this: the parser compares each closing tag with all
open elements, which takes quadratic time."""

MAX_DECODINGS = 2
"""How often a text of format "auto" is decoded as HTML: some feeds escape HTML that is escaped
already."""

INLINE_ELEMENTS = frozenset({
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em",
    "font", "i", "img", "ins", "kbd", "label", "mark", "nobr", "o:p", "output", "q", "ruby", "s",
    "samp", "small", "span", "strike", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr",
})  # fmt: skip
"""Elements within a line. All others, unknown ones too, start a new line before and after them."""

HIDDEN_ELEMENTS = frozenset({
    "audio", "button", "canvas", "datalist", "iframe", "math", "nav", "noscript", "object",
    "script", "select", "style", "svg", "template", "textarea", "video",
})  # fmt: skip
"""Elements whose content is not text of the ad."""

BREAK_HINTS = re.compile("[\N{SOFT HYPHEN}\N{ZERO WIDTH SPACE}\N{WORD JOINER}]")
"""Invisible characters that control line breaks; the tokenizer would split words at them."""

HIDING_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)

# Only names that are HTML for certain: `title` or `section` occur in any XML. Attributes need a
# value, so that "a <b und c> d" is text. Linear time: possessive quantifiers, and no tag spans "<".
HTML_SYNTAX = re.compile(
    r"<(?:p|br|hr|div|span|ul|ol|li|h[1-6]|table|tbody|tr|td|th|strong|em|font|html|body|img|script"
    r"|style|blockquote|(?:a|b|i|u)(?=\s[^<>=]*+=))(?:\s[^<>=]*+=[^<>]*+(?:>|\Z)|\s*+/?+>)"
    r"|</(?:p|div|span|ul|ol|li|h[1-6]|table|tr|td|th|strong|em|font|a|b|i|u|html|body)\s*+>"
    r"|&(?:nbsp|amp|lt|gt|quot|apos|[aouAOU]uml|szlig|eacute|egrave|[nm]dash|bull|middot|euro"
    r"|rsquo|lsquo|[bl]dquo|rdquo|laquo|raquo|hellip|sect|\#\d{1,7}|\#[xX][0-9a-fA-F]{1,6});",
    re.IGNORECASE,
)


def is_html(text: str) -> bool:
    """Return whether a text contains HTML tags or character references."""
    return HTML_SYNTAX.search(text) is not None


def plain_text(text: str, text_format: Format, limit: int) -> tuple[str, bool]:
    """Return a text without markup.

    Args:
        text: as it was sent.
        text_format: "text" returns it unchanged, "html" parses it, "auto" parses it if it looks
            like HTML.
        limit: characters that the caller can use; parsing stops soon after them.

    Returns:
        The text, and whether parsing stopped early, so that text may be missing.
    """
    if text_format == "html":
        return visible_text(text, limit)
    cut = False
    for _ in range(MAX_DECODINGS if text_format == "auto" else 0):
        # If markup starts after the limit, only the text before the limit is used.
        if not is_html(text[:limit]):
            break
        text, cut_now = visible_text(text, limit)
        cut = cut or cut_now
    return text, cut


def visible_text(markup: str, limit: int) -> tuple[str, bool]:
    """Return the visible text of HTML, each block on a line of its own, white space collapsed.

    Parses at most `limit * MARKUP_PER_CHARACTER` characters of markup; stops earlier at `limit`
    characters of text, or at elements nested deeper than `MAX_DEPTH`.

    Returns:
        The text, and whether parsing stopped early, so that text may be missing.
    """
    target = _VisibleText()
    parser = etree.HTMLParser(target=target, encoding="utf-8", collect_ids=False)
    end = min(len(markup), limit * MARKUP_PER_CHARACTER)
    offset = 0
    while offset < end and target.characters <= limit and target.depth <= MAX_DEPTH:
        # "replace": lone surrogates, as broken scrapers produce them, cannot be encoded.
        parser.feed(markup[offset : min(offset + CHUNK_CHARACTERS, end)].encode("utf-8", "replace"))
        offset += CHUNK_CHARACTERS
    cut = offset < len(markup)
    if markup and not cut:
        parser.close()
    text = BREAK_HINTS.sub("", "".join(target.parts))
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line), cut


class _VisibleText:
    """The parser's target: receives tags and text as method calls, collects the visible text."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.characters = 0
        self.depth = 0
        # Depth of the outermost hidden element around the current position, if any.
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
        """Required by lxml; nothing to do at the end."""

    def _break_line(self, tag: str) -> None:
        if tag not in INLINE_ELEMENTS:
            self.parts.append("\n")


def _is_hidden(tag: str, attributes: Mapping[str, str]) -> bool:
    if tag in HIDDEN_ELEMENTS:
        return True
    return bool(attributes) and (
        "hidden" in attributes
        or attributes.get("aria-hidden", "").lower() == "true"
        or HIDING_STYLE.search(attributes.get("style", "")) is not None
    )
