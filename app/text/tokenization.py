"""Tokenizes ads: title and text joined, long texts cut into overlapping windows.

An ad becomes `[CLS] title [SEP] text [SEP]`, or `[CLS] text [SEP]` without a title. A text longer
than a window is cut into several, each with the title before its part of the text. Text beyond the
last window is dropped, and the ad is marked as truncated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from app.core.errors import InvalidRequestError
from app.core.types import Ad, EncodedAd
from app.text.html_text import plain_text
from app.text.window_spans import window_spans

TITLE_TOKENS = 64
"""Maximum tokens of a title, which is repeated in every window."""

SMALLEST_WINDOW = 8
"""Minimum tokens of a window: fewer leave no room for text between the special tokens."""

# German prose has 4.6 characters a token, and no real ad more than 5.8; a list of long words that
# are all in the vocabulary may have more. Text beyond this is cut, so that a hostile megabyte costs
# as much as a long ad at most.
CHARACTERS_PER_TOKEN = 8

CHUNK_CHARACTERS = 1024
"""Characters tokenized at once. Tokenization stops after the chunk that fills the windows: rare
letters fill them soon, since some become 18 letters in normalization."""

# A text with more characters a token than this consists of letters that the vocabulary lacks: a
# whole word in an unknown script is one unknown token. More of it adds no information, so
# tokenization stops, but not before the minimum of characters.
UNKNOWN_CHARACTERS_PER_TOKEN = 50
MIN_UNKNOWN_CHARACTERS = 4 * CHUNK_CHARACTERS


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Ids of the token that starts a window and the one that ends each of its parts."""

    cls: int
    sep: int


class AdTokenizer:
    """Turns ads into windows of token ids. Thread-safe; tokenization itself releases the GIL.

    Args:
        tokenizer: used without its own special tokens. Not shared: its truncation and padding are
            switched off.
        special: ids of the special tokens.
        max_length: tokens of a window, special tokens included.
        max_windows: windows of an ad.

    Raises:
        ValueError: a window is too small, or there is none.
    """

    def __init__(
        self, tokenizer: Tokenizer, special: SpecialTokens, max_length: int, max_windows: int = 4
    ) -> None:
        if max_length < SMALLEST_WINDOW:
            raise ValueError(f"a window needs at least {SMALLEST_WINDOW} tokens, not {max_length}")
        if max_windows < 1:
            raise ValueError("an ad needs at least one window")
        tokenizer.no_truncation()
        tokenizer.no_padding()
        # "[SEP]" or "<pad>" in an ad is text: as a special token it would end a part of the window,
        # or shift positions that are counted by the padding id. (A Unigram vocabulary that lists
        # them as pieces still matches them; this affects the answer for that ad only.)
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self._special = special
        self.max_length = max_length
        self.max_windows = max_windows
        self._title_tokens = min(TITLE_TOKENS, max_length // 4)
        self._title_characters = self._title_tokens * CHARACTERS_PER_TOKEN
        self._max_characters = max_length * max_windows * CHARACTERS_PER_TOKEN

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments: a pickled `Tokenizer` loses `encode_special_tokens`."""
        return AdTokenizer, (self._tokenizer, self._special, self.max_length, self.max_windows)

    def encode(self, ads: Sequence[Ad]) -> list[EncodedAd]:
        """Tokenize ads, in order; each gives at most `max_windows` windows whatever its length.

        Raises:
            InvalidRequestError: an ad's HTML has no visible text; names the first such ad.
        """
        plain = [self._plain(number, ad) for number, ad in enumerate(ads, start=1)]
        titles = self._tokenize(
            [title for title, _, _ in plain], self._title_tokens, self._title_characters
        )
        texts = self._tokenize(
            [text for _, text, _ in plain], self.max_ad_tokens, self._max_characters
        )
        return [
            self._encoded(title, text, cut=cut or title_cut or text_cut)
            for (title, title_cut), (text, text_cut), (_, _, cut) in zip(
                titles, texts, plain, strict=True
            )
        ]

    def without_markup(self, ad: Ad) -> Ad:
        """Return an ad without markup, and without the text that does not fit into its windows.

        It is tokenized like the ad itself, except perhaps for the word at its end.

        Raises:
            InvalidRequestError: the ad's HTML has no visible text.
        """
        title, text, _ = self._plain(1, ad)
        ((title_ids, _),) = self._tokenize([title], self._title_tokens, self._title_characters)
        room = self._room(title_ids)
        _, tokens = window_spans(
            self.max_ad_tokens, room, overlap=room // 8, limit=self.max_windows
        )[-1]
        return Ad(text[: self._end_of_token(text, tokens)], title or None)

    def _end_of_token(self, text: str, tokens: int) -> int:
        """Return the offset after this many tokens, or the end of what is read of the text."""
        end, limit = 0, min(len(text), self._max_characters)
        while end < limit:
            start, end = end, _chunk_end(text, end, limit)
            chunk = _without_surrogates(text[start:end])
            encoding = self._tokenizer.encode(chunk, add_special_tokens=False)
            if len(encoding.ids) >= tokens:
                return start + int(encoding.offsets[tokens - 1][1])
            tokens -= len(encoding.ids)
        return end

    def _plain(self, number: int, ad: Ad) -> tuple[str, str, bool]:
        """Return an ad's title and text without markup, and whether some text may be missing.

        `number` is the ad's 1-based position in the request, for the message of an error.
        """
        title, cut = plain_text((ad.title or "").strip(), ad.format, self._title_characters)
        parts: list[str] = []
        room = self._max_characters
        sent = [text.strip() for text in (ad.text, *ad.more_texts)]
        for given in sent:
            if room <= 0:
                cut = True
                break
            part, part_cut = plain_text(given, ad.format, room)
            cut = cut or part_cut
            # Many feeds repeat a part of the text in a field of its own.
            if part and not any(part in earlier for earlier in parts):
                parts.append(part)
                room -= len(part)
        if any(sent) and not parts:
            raise InvalidRequestError(
                f"The HTML of ad {number} of the request shows no text; "
                "send what a reader of the ad would see."
            )
        return title, "\n".join(parts), cut

    def _tokenize(
        self, texts: Sequence[str], max_tokens: int, max_characters: int
    ) -> list[tuple[list[int], bool]]:
        """Tokenize texts chunk by chunk, each until it exceeds one of the limits.

        Returns:
            Ids, and whether a part was not tokenized, for each text in order.
        """
        ids: list[list[int]] = [[] for _ in texts]
        ends = [0] * len(texts)
        unfinished = [index for index, text in enumerate(texts) if text]
        while unfinished:
            chunks = []
            for index in unfinished:
                start, ends[index] = (
                    ends[index],
                    _chunk_end(texts[index], ends[index], max_characters),
                )
                chunks.append(_without_surrogates(texts[index][start : ends[index]]))
            encodings = self._tokenizer.encode_batch_fast(chunks, add_special_tokens=False)
            for index, encoding in zip(unfinished, encodings, strict=True):
                ids[index] += encoding.ids
            unfinished = [
                index
                for index in unfinished
                if ends[index] < min(len(texts[index]), max_characters)
                and len(ids[index]) <= max_tokens
                and ends[index]
                < MIN_UNKNOWN_CHARACTERS + UNKNOWN_CHARACTERS_PER_TOKEN * len(ids[index])
            ]
        return [(found, end < len(text)) for found, end, text in zip(ids, ends, texts, strict=True)]

    def _encoded(self, title: list[int], text: list[int], *, cut: bool) -> EncodedAd:
        """Build the windows of an ad from the ids of its title and text."""
        head = [self._special.cls]
        if title:
            cut = cut or len(title) > self._title_tokens
            head += [*title[: self._title_tokens], self._special.sep]
        room = self._room(title)
        parts = window_spans(len(text), room, overlap=room // 8, limit=self.max_windows)
        windows = tuple(
            np.array([*head, *text[start:end], self._special.sep], dtype=np.int32)
            for start, end in parts
        )
        return EncodedAd(windows, truncated=cut or parts[-1][1] < len(text))

    def _room(self, title: list[int]) -> int:
        """Return how many tokens of the text fit into a window with this title."""
        title_part = min(len(title), self._title_tokens) + 1 if title else 0
        return self.max_length - 2 - title_part

    def estimate_tokens(self, ad: Ad) -> int:
        """Estimate the tokens of an ad from its length, for admission control; at least 3."""
        characters = len(ad.text) + len(ad.title or "") + sum(map(len, ad.more_texts))
        return min(characters // 4 + 3, self.max_ad_tokens)

    @property
    def max_ad_tokens(self) -> int:
        """Maximum tokens of an ad, over all its windows."""
        return self.max_length * self.max_windows


def _chunk_end(text: str, start: int, limit: int) -> int:
    """Return the end of the chunk that starts at `start`: the end of a word, if possible."""
    latest = min(start + CHUNK_CHARACTERS, limit)
    if latest >= len(text):
        return len(text)
    # A cut never falls after white space: some tokenizers join a space to the next word, so it
    # has to stay with it. Other tokenizers ignore white space at the start of a chunk.
    for end in range(latest, start + CHUNK_CHARACTERS // 2, -1):
        if text[end].isspace() and not text[end - 1].isspace():
            return end
    return latest


def _without_surrogates(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot encode, by question marks."""
    # Broken scrapers produce them, and a single one would fail the tokenizer's whole batch.
    return text.encode("utf-8", "replace").decode("utf-8")
