"""Ads to token ids: title and text joined, long texts cut into overlapping windows.

An ad becomes `[CLS] title [SEP] text [SEP]`, or `[CLS] text [SEP]` where it has no title; a text
longer than a window is read in several, each with the title before its part of the text. What the
last window leaves unread is cut, and the ad is marked as truncated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from tokenizers import Tokenizer

from app.records import Ad, Encoded

TITLE_TOKENS = 64
"""A title is cut after this many tokens: it is repeated in every window."""

SMALLEST_WINDOW = 8
"""Fewer positions than this leave no room for text beside the special tokens."""

# German prose has about 4.6 characters a token. A text is cut at this many characters a token
# before it is tokenized, so that a hostile megabyte costs no more than a long ad.
CHARACTERS_A_TOKEN = 10


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The ids that open a window and close its parts."""

    cls: int
    sep: int


class AdTokenizer:
    """Cuts ads into windows of token ids. Thread-safe; the heavy part runs without the GIL."""

    def __init__(
        self, tokenizer: Tokenizer, special: SpecialTokens, max_length: int, max_windows: int = 4
    ) -> None:
        """Take a tokenizer of its own: truncation and padding are switched off on it.

        Args:
            tokenizer: gives ids without adding special tokens.
            special: the ids around the parts of a window.
            max_length: tokens of a window, special tokens included.
            max_windows: windows an ad has at most.
        """
        if max_length < SMALLEST_WINDOW:
            raise ValueError(f"a window needs at least {SMALLEST_WINDOW} tokens, not {max_length}")
        if max_windows < 1:
            raise ValueError("an ad needs at least one window")
        tokenizer.no_truncation()
        tokenizer.no_padding()
        # A "[SEP]" or "<pad>" that an ad's author typed is text: it must not close a window's part
        # or shift positions that are counted by the padding id. (A Unigram vocabulary that lists
        # them as pieces finds them even so; then the ad misleads the model about itself only.)
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self._special = special
        self.max_length = max_length
        self.max_windows = max_windows
        self._title_tokens = min(TITLE_TOKENS, max_length // 4)
        self._title_characters = self._title_tokens * CHARACTERS_A_TOKEN
        self._max_characters = max_length * max_windows * CHARACTERS_A_TOKEN

    def encode(self, ads: Sequence[Ad]) -> list[Encoded]:
        """Encode ads in order; each costs at most `max_windows` windows whatever its length."""
        titles = [_cut((ad.title or "").strip(), self._title_characters) for ad in ads]
        texts = [_cut(ad.text.strip(), self._max_characters) for ad in ads]
        encodings = self._tokenizer.encode_batch_fast(
            [part for part, _ in (*titles, *texts)], add_special_tokens=False
        )
        return [
            self._assemble(title.ids, text.ids, cut=title_cut or text_cut)
            for title, text, (_, title_cut), (_, text_cut) in zip(
                encodings[: len(ads)], encodings[len(ads) :], titles, texts, strict=True
            )
        ]

    def _assemble(self, title: list[int], text: list[int], *, cut: bool) -> Encoded:
        head = [self._special.cls]
        if title:
            cut = cut or len(title) > self._title_tokens
            head += [*title[: self._title_tokens], self._special.sep]
        room = self.max_length - len(head) - 1
        parts = spans(len(text), room, overlap=room // 8, limit=self.max_windows)
        windows = tuple(
            np.array([*head, *text[start:end], self._special.sep], dtype=np.int32)
            for start, end in parts
        )
        return Encoded(windows, truncated=cut or parts[-1][1] < len(text))

    def estimate(self, ad: Ad) -> int:
        """Guess an ad's tokens without tokenizing it, for admission; never below the least."""
        characters = len(ad.text) + len(ad.title or "")
        return min(characters // 4 + 3, self.longest)

    @property
    def longest(self) -> int:
        """Tokens of the longest ad there can be, over all its windows."""
        return self.max_length * self.max_windows


def _cut(part: str, limit: int) -> tuple[str, bool]:
    """Return at most `limit` characters that UTF-8 can hold, and whether any were cut off."""
    # Half a surrogate pair, as broken scrapers leave it, would fail the tokenizer's whole batch.
    return part[:limit].encode("utf-8", "replace").decode("utf-8"), len(part) > limit


def spans(length: int, room: int, overlap: int, limit: int) -> list[tuple[int, int]]:
    """Cut `length` tokens into even spans of at most `room` that share `overlap` tokens.

    Even, so that the last window is not a remnant that counts as much as a full one when windows
    are averaged. Never more than `limit` spans; then what lies behind the last stays unread.

    Returns:
        (start, end) pairs in order; one empty span for an empty text.
    """
    if length <= room:
        return [(0, length)]
    count = min(ceil((length - overlap) / (room - overlap)), limit)
    length = min(length, room + (count - 1) * (room - overlap))
    size = ceil((length + (count - 1) * overlap) / count)
    starts = [round(index * (length - size) / max(count - 1, 1)) for index in range(count)]
    return [(start, start + size) for start in starts]
