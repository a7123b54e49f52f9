"""Ads to token ids: title and text joined, long texts cut into overlapping windows.

An ad becomes `[CLS] title [SEP] text [SEP]`, or `[CLS] text [SEP]` where it has no title; a text
longer than a window is read in several, each with the title before its part of the text. What the
last window leaves unread is cut, and the ad is marked as truncated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from app.core.errors import InvalidRequestError
from app.core.types import Ad, Encoded
from app.text.html_text import readable

TITLE_TOKENS = 64
"""A title is cut after this many tokens: it is repeated in every window."""

SMALLEST_WINDOW = 8
"""Fewer positions than this leave no room for text beside the special tokens."""

# German prose has 4.6 characters a token, and no real ad has more than 5.8; a list of long words
# that are all known may have more. What goes beyond is cut, so that a hostile megabyte costs no
# more than a long ad.
CHARACTERS_A_TOKEN = 8

SLICE = 1024
"""Characters of a text that are tokenized at once. Reading ends with the slice that fills the
windows: a text of rare letters does so soon, and some letters are 18 after normalization."""

# Where so many characters gave a token at most, they are letters that the vocabulary lacks: all of
# a word in another script is one unknown token. Reading on would not tell more.
BARREN = 50
BARREN_CHARACTERS = 4 * SLICE


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

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what it was made of: the library's tokenizer loses a setting on that way."""
        return AdTokenizer, (self._tokenizer, self._special, self.max_length, self.max_windows)

    def encode(self, ads: Sequence[Ad]) -> list[Encoded]:
        """Encode ads in order; each costs at most `max_windows` windows whatever its length.

        Raises:
            InvalidRequestError: an ad's HTML shows nothing to read; names the first such ad.
        """
        written = [self._written(number, ad) for number, ad in enumerate(ads, start=1)]
        titles = self._read(
            [title for title, _, _ in written], self._title_tokens, self._title_characters
        )
        texts = self._read([text for _, text, _ in written], self.longest, self._max_characters)
        return [
            self._assemble(title, text, cut=cut or title_cut or text_cut)
            for (title, title_cut), (text, text_cut), (_, _, cut) in zip(
                titles, texts, written, strict=True
            )
        ]

    def plain(self, ad: Ad) -> Ad:
        """Return an ad without its markup, and without what no window has room for.

        It is encoded as the ad itself, up to the word at its end.

        Raises:
            InvalidRequestError: the ad's HTML shows nothing to read.
        """
        title, text, _ = self._written(1, ad)
        ((title_ids, _),) = self._read([title], self._title_tokens, self._title_characters)
        room = self._room(title_ids)
        _, most = spans(self.longest, room, overlap=room // 8, limit=self.max_windows)[-1]
        return Ad(text[: self._place(text, most)], title or None)

    def _place(self, text: str, tokens: int) -> int:
        """Return where the token of this number ends, or all that is read of the text."""
        end, limit = 0, min(len(text), self._max_characters)
        while end < limit:
            start, end = end, _end(text, end, limit)
            encoding = self._tokenizer.encode(_encodable(text[start:end]), add_special_tokens=False)
            if len(encoding.ids) >= tokens:
                return start + int(encoding.offsets[tokens - 1][1])
            tokens -= len(encoding.ids)
        return end

    def _written(self, number: int, ad: Ad) -> tuple[str, str, bool]:
        """Return an ad's title and text without markup, and whether some of it was left unread."""
        title, cut = readable((ad.title or "").strip(), ad.format, self._title_characters)
        parts: list[str] = []
        room = self._max_characters
        sent = [text.strip() for text in (ad.text, *ad.more)]
        for given in sent:
            if room <= 0:
                cut = True
                break
            part, part_cut = readable(given, ad.format, room)
            cut = cut or part_cut
            # Many authors say again in a field of its own what stands in the text already.
            if part and not any(part in earlier for earlier in parts):
                parts.append(part)
                room -= len(part)
        if any(sent) and not parts:
            raise InvalidRequestError(
                f"The HTML of ad {number} of the request shows no text; "
                "send what a reader of the ad would see."
            )
        return title, "\n".join(parts), cut

    def _read(self, parts: Sequence[str], enough: int, limit: int) -> list[tuple[list[int], bool]]:
        """Tokenize each part until it has more than `enough` tokens or `limit` characters are read.

        Returns:
            Ids and whether something was left unread, for each part in order.
        """
        ids: list[list[int]] = [[] for _ in parts]
        ends = [0] * len(parts)
        going = [index for index, part in enumerate(parts) if part]
        while going:
            slices = []
            for index in going:
                start, ends[index] = ends[index], _end(parts[index], ends[index], limit)
                slices.append(_encodable(parts[index][start : ends[index]]))
            encodings = self._tokenizer.encode_batch_fast(slices, add_special_tokens=False)
            for index, encoding in zip(going, encodings, strict=True):
                ids[index] += encoding.ids
            going = [
                index
                for index in going
                if ends[index] < min(len(parts[index]), limit)
                and len(ids[index]) <= enough
                and ends[index] < BARREN_CHARACTERS + BARREN * len(ids[index])
            ]
        return [(found, end < len(part)) for found, end, part in zip(ids, ends, parts, strict=True)]

    def _assemble(self, title: list[int], text: list[int], *, cut: bool) -> Encoded:
        head = [self._special.cls]
        if title:
            cut = cut or len(title) > self._title_tokens
            head += [*title[: self._title_tokens], self._special.sep]
        room = self._room(title)
        parts = spans(len(text), room, overlap=room // 8, limit=self.max_windows)
        windows = tuple(
            np.array([*head, *text[start:end], self._special.sep], dtype=np.int32)
            for start, end in parts
        )
        return Encoded(windows, truncated=cut or parts[-1][1] < len(text))

    def _room(self, title: list[int]) -> int:
        """Return the tokens of the text that a window holds behind its title."""
        titled = min(len(title), self._title_tokens) + 1 if title else 0
        return self.max_length - 2 - titled

    def estimate(self, ad: Ad) -> int:
        """Guess an ad's tokens without tokenizing it, for admission; never below the least."""
        characters = len(ad.text) + len(ad.title or "") + sum(map(len, ad.more))
        return min(characters // 4 + 3, self.longest)

    @property
    def longest(self) -> int:
        """Tokens of the longest ad there can be, over all its windows."""
        return self.max_length * self.max_windows


def _end(part: str, start: int, limit: int) -> int:
    """Return where a slice that begins at `start` ends: behind a word, if there is one."""
    latest = min(start + SLICE, limit)
    if latest >= len(part):
        return len(part)
    # White space begins the next slice, all of it: some tokenizers make it a part of the word
    # behind it, and none finds anything else where it is left out here and stands there.
    for end in range(latest, start + SLICE // 2, -1):
        if part[end].isspace() and not part[end - 1].isspace():
            return end
    return latest


def _encodable(part: str) -> str:
    """Replace what UTF-8 cannot hold."""
    # Half a surrogate pair, as broken scrapers leave it, would fail the tokenizer's whole batch.
    return part.encode("utf-8", "replace").decode("utf-8")


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
