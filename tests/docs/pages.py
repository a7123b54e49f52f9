"""The Markdown pages of the documentation: blocks, tables, headings and links."""

import re
from dataclasses import dataclass
from functools import cached_property

from tests.support.repository import ROOT

FENCE = re.compile(r"^(?P<fence>```+)(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=fence)$", re.M | re.S)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
TABLE = re.compile(r"(?:^\|.*\|\n)+", re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block with its language and text."""

    page: str
    language: str
    text: str

    @property
    def name(self) -> tuple[str, str]:
        """The page and the first line, which identify the block."""
        return self.page, self.text.split("\n", 1)[0]


@dataclass(frozen=True)
class MarkdownPage:
    """One Markdown file of the repository; `name` is its path from the root."""

    name: str

    @cached_property
    def text(self) -> str:
        """The whole file."""
        return (ROOT / self.name).read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """The file without its fenced blocks."""
        return FENCE.sub("", self.text)

    @property
    def blocks(self) -> list[Block]:
        """All fenced blocks, in order."""
        return [
            Block(self.name, found["language"], found["text"])
            for found in FENCE.finditer(self.text)
        ]

    @property
    def links(self) -> list[str]:
        """The targets of all links."""
        return LINK.findall(self.prose)

    @property
    def anchors(self) -> list[str]:
        """The anchors of all headings, as GitHub makes them."""
        headings = re.findall(r"^#+ (.+)$", self.prose, flags=re.M)
        return [re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings]

    @property
    def tables(self) -> list[list[list[str]]]:
        """All tables as rows of cells: the heading first, without the line of dashes."""
        found = []
        for table in TABLE.findall(self.prose):
            rows = [[cell.strip() for cell in row[1:-1].split("|")] for row in table.splitlines()]
            found.append([rows[0], *rows[2:]])
        return found

    def table(self, *heading: str) -> list[list[list[str]]]:
        """Return the rows of every table with this heading."""
        return [rows for head, *rows in self.tables if head == [*heading]]


PAGES = {
    name: MarkdownPage(name)
    for name in sorted(
        str(path.relative_to(ROOT))
        for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md")
        for path in ROOT.glob(pattern)
    )
}
ARCHITECTURE = PAGES["docs/architecture.md"]
