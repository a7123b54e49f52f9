"""Long and hostile texts: tokenized chunk by chunk, at a bounded cost."""

import pytest
from tokenizers import Tokenizer

from app.core.types import Ad
from app.text.tokenization import (
    CHARACTERS_PER_TOKEN,
    CHUNK_CHARACTERS,
    AdTokenizer,
    SpecialTokens,
)
from tests.support.repository import DEMO, shared_ads

WORDS = ["Koch", "für", "die", "Küche", "mit", "Speisen", "im", "Restaurant", "Team", "Software"]


class CountingTokenizer:
    """A tokenizer that counts the characters it gets and the tokens it returns."""

    def __init__(self, tokenizer):
        self._tokenizer, self.characters, self.tokens = tokenizer, 0, 0

    def encode_batch_fast(self, texts, add_special_tokens):
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=add_special_tokens)
        self.characters += sum(map(len, texts))
        self.tokens += sum(len(encoding.ids) for encoding in encodings)
        return encodings

    def __getattr__(self, name):
        return getattr(self._tokenizer, name)


TOKENIZER = DEMO / "tokenizer.json"
MEGABYTE = 1_000_000
ORDINARY_CHARACTERS, ORDINARY_TOKENS = 1650, 360
"""Mean of 2,059 real ads."""
HOSTILE = {
    "one word": "a" * MEGABYTE,
    "one word of umlauts": "ü" * MEGABYTE,
    "one word of another script": "あ" * MEGABYTE,
    "combining marks": "a" + "\u0301" * MEGABYTE,
    "blanks": "a" + " " * MEGABYTE + "a",
    "lines": "a" + "\n" * MEGABYTE + "a",
    "emoji": "😀" * MEGABYTE,
    "joined emoji": "👩\u200d🍳" * (MEGABYTE // 3),
    "18 letters each once normalized": "\ufdfa" * MEGABYTE,
    "18 letters each once normalized, apart": "\ufdfa " * (MEGABYTE // 2),
    "zero width": "\u200b" * MEGABYTE,
    "NUL": "\0" * MEGABYTE,
    "right to left": "\u202eabc" * (MEGABYTE // 4),
    "markup": "<div>" * (MEGABYTE // 5),
    "half surrogates": "\ud800" * MEGABYTE,
    "full width": "Ａ" * MEGABYTE,
    "ligatures": "ﬃ" * MEGABYTE,
    "signs": "!" * MEGABYTE,
}
# As many characters a token as an ad, so these are read until four windows are full.
LIKE_AN_AD = {
    "words": "Koch " * (MEGABYTE // 5),
    "digits": "1" * MEGABYTE,
    "special tokens": "</s>" * (MEGABYTE // 4),
}


@pytest.fixture(scope="module")
def demo_tokenizer():
    if not TOKENIZER.is_file():
        pytest.skip("there is no demo checkpoint")
    return Tokenizer.from_file(str(TOKENIZER))


def cost(tokenizer, text, title=None):
    """Return the characters and tokens processed for an ad in at most four windows of 512."""
    counting = CountingTokenizer(tokenizer)
    AdTokenizer(counting, SpecialTokens(0, 2), 512, 4).encode([Ad(text, title)])
    return counting.characters, counting.tokens


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_megabyte_costs_less_than_five_ordinary_ads(demo_tokenizer, name):
    characters, tokens = cost(demo_tokenizer, HOSTILE[name])
    assert characters < 5 * ORDINARY_CHARACTERS
    # Some letters become 18 in normalization, so the last chunk may give that many tokens each.
    assert tokens < 5 * ORDINARY_TOKENS + 18 * CHUNK_CHARACTERS


@pytest.mark.parametrize("name", LIKE_AN_AD)
def test_megabyte_of_words_costs_no_more_than_full_windows(demo_tokenizer, name):
    characters, tokens = cost(demo_tokenizer, LIKE_AN_AD[name])
    assert characters <= 2048 * CHARACTERS_PER_TOKEN
    assert tokens < 2048 + CHUNK_CHARACTERS


@pytest.mark.parametrize("name", HOSTILE | LIKE_AN_AD)
def test_hostile_title_costs_less_than_an_ordinary_ad(demo_tokenizer, name):
    characters, _ = cost(demo_tokenizer, "Koch", (HOSTILE | LIKE_AN_AD)[name])
    assert characters < ORDINARY_CHARACTERS


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_megabyte_is_marked_as_truncated(demo_tokenizer, name):
    tokenizer = AdTokenizer(demo_tokenizer, SpecialTokens(0, 2), 512, 4)
    assert tokenizer.encode([Ad(HOSTILE[name])])[0].truncated


def tokenized_at_once(tokenizer, text):
    """Return the ids of a text that is tokenized without chunks."""
    return tokenizer.encode(text.strip(), add_special_tokens=False).ids


@pytest.mark.parametrize("gap", [" ", "\n", "  \n ", "\t", "\u00a0", " " * 100, " - ", ".\n\n"])
@pytest.mark.parametrize("kind", ["tests", "demo"])
def test_chunks_give_the_tokens_of_the_whole_text(kind, gap, tokenizer_files, request):
    if kind == "demo":
        tokenizer = request.getfixturevalue("demo_tokenizer")
    else:
        tokenizer = Tokenizer.from_buffer(tokenizer_files["tokenizer.json"])
    reader = AdTokenizer(tokenizer, SpecialTokens(0, 2), 4096, 1)
    for offset in range(0, 60, 7):
        text = gap.join(["x" * offset, *WORDS * (6 if len(gap) > 9 else 60)])
        (window,) = reader.encode([Ad(text)])[0].windows
        assert window[1:-1].tolist() == tokenized_at_once(tokenizer, text)


def test_chunks_give_the_tokens_of_whole_real_ads(demo_tokenizer):
    ads = shared_ads(3000)
    if ads is None:
        pytest.skip("the project's ads are not at hand")
    reader = AdTokenizer(demo_tokenizer, SpecialTokens(0, 2), 8192, 1)
    texts = [ad["text"] for ad in ads]
    for text, encoded in zip(texts, reader.encode([Ad(text) for text in texts]), strict=True):
        assert encoded.windows[0][1:-1].tolist() == tokenized_at_once(demo_tokenizer, text)
        assert not encoded.truncated
