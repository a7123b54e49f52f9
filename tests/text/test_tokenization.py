from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from tokenizers import Tokenizer

from app.core.errors import InvalidRequestError
from app.core.types import Ad
from app.text.tokenization import (
    CHARACTERS_PER_TOKEN,
    CHUNK_CHARACTERS,
    MIN_UNKNOWN_CHARACTERS,
    SMALLEST_WINDOW,
    TITLE_TOKENS,
    AdTokenizer,
    SpecialTokens,
)
from app.text.window_spans import window_spans

CLS, SEP = 2, 3
LENGTH = 32
# Each is one token of the test vocabulary.
WORDS = ["Koch", "für", "die", "Küche", "mit", "Speisen", "im", "Restaurant", "Team", "Software"]


def words(count: int) -> str:
    return " ".join(WORDS[index % len(WORDS)] for index in range(count))


@pytest.fixture(scope="module")
def make_tokenizer(tokenizer_files):
    """Return a function that makes an `AdTokenizer` of a window length and a number of windows."""

    def maker(max_length=LENGTH, max_windows=4):
        plain = Tokenizer.from_buffer(tokenizer_files["tokenizer.json"])
        return AdTokenizer(plain, SpecialTokens(CLS, SEP), max_length, max_windows)

    return maker


@pytest.fixture(scope="module")
def ids(tokenizer_files):
    """Return the plain tokenizer's ids of a text."""
    plain = Tokenizer.from_buffer(tokenizer_files["tokenizer.json"])
    return lambda text: plain.encode(text, add_special_tokens=False).ids


def encode_one(tokenizer: AdTokenizer, text: str, title: str | None = None):
    (encoded,) = tokenizer.encode([Ad(text, title)])
    return encoded


def windows_of(encoded) -> list[list[int]]:
    return [window.tolist() for window in encoded.windows]


def test_window_is_cls_title_sep_text_sep(make_tokenizer, ids):
    encoded = encode_one(make_tokenizer(), "Koch für die Küche", "Software im Team")
    assert windows_of(encoded) == [
        [CLS, *ids("Software im Team"), SEP, *ids("Koch für die Küche"), SEP]
    ]
    assert encoded.windows[0].dtype == np.int32
    assert not encoded.truncated


@pytest.mark.parametrize("title", [None, "", "   \n", "\u200b"])
def test_window_without_a_title_is_cls_text_sep(make_tokenizer, ids, title):
    assert windows_of(encode_one(make_tokenizer(), "Koch", title)) == [[CLS, *ids("Koch"), SEP]]


def test_empty_text_gives_one_window(make_tokenizer, ids):
    assert windows_of(encode_one(make_tokenizer(), "")) == [[CLS, SEP]]
    assert windows_of(encode_one(make_tokenizer(), " ", "Koch")) == [[CLS, *ids("Koch"), SEP, SEP]]


@pytest.mark.parametrize("title", [None, "Koch im Team"])
def test_longest_text_of_one_window_fills_it(make_tokenizer, ids, title):
    room = LENGTH - 2 - (len(ids(title)) + 1 if title else 0)
    full, over = (
        encode_one(make_tokenizer(), words(room), title),
        encode_one(make_tokenizer(), words(room + 1), title),
    )
    assert [len(window) for window in full.windows] == [LENGTH]
    assert len(over.windows) == 2
    assert not full.truncated
    assert not over.truncated


@pytest.mark.parametrize("title", [None, "Koch im Team"])
@pytest.mark.parametrize("count", range(25, 95, 7))
def test_windows_repeat_the_title_and_cover_the_text(make_tokenizer, ids, title, count):
    tokenizer = make_tokenizer()
    text = ids(words(count))
    encoded = encode_one(tokenizer, words(count), title)
    head = [CLS, *ids(title), SEP] if title else [CLS]
    parts = []
    for window in windows_of(encoded):
        assert window[: len(head)] == head
        assert window[-1] == SEP
        assert len(window) <= LENGTH
        parts.append(window[len(head) : -1])
    room = LENGTH - len(head) - 1
    expected = [text[start:end] for start, end in window_spans(len(text), room, room // 8, 4)]
    assert parts == expected
    assert not encoded.truncated
    read = set()
    for start, end in window_spans(len(text), room, room // 8, 4):
        read.update(range(start, end))
    assert read == set(range(len(text)))


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_text_beyond_the_last_window_is_truncated(make_tokenizer, limit):
    room = LENGTH - 2
    most = room + (limit - 1) * (room - room // 8)
    fits, over = (encode_one(make_tokenizer(max_windows=limit), words(n)) for n in (most, most + 1))
    assert (len(fits.windows), fits.truncated) == (limit, False)
    assert (len(over.windows), over.truncated) == (limit, True)
    assert windows_of(over)[0] == windows_of(fits)[0]
    assert over.tokens == LENGTH * limit


def test_very_long_text_is_cut_before_tokenization(make_tokenizer):
    tokenizer = make_tokenizer()
    # One word of a million letters is a single unknown token: only its characters exceed a limit.
    encoded = encode_one(tokenizer, "ü" * 1_000_000)
    assert encoded.tokens == 3
    assert encoded.truncated
    assert not encode_one(
        tokenizer, "ü" * (tokenizer.max_ad_tokens * CHARACTERS_PER_TOKEN)
    ).truncated


def test_surrounding_white_space_is_free(make_tokenizer):
    tokenizer = make_tokenizer()
    blank = " \n" * tokenizer.max_ad_tokens * 10
    assert windows_of(encode_one(tokenizer, blank + "Koch" + blank)) == windows_of(
        encode_one(tokenizer, "Koch")
    )
    assert not encode_one(tokenizer, blank + "Koch" + blank).truncated


def test_long_title_is_cut_to_a_quarter_of_the_window(make_tokenizer, ids):
    quarter = LENGTH // 4
    fits, over = (
        encode_one(make_tokenizer(), "Team", words(count)) for count in (quarter, quarter + 1)
    )
    assert not fits.truncated
    assert over.truncated
    assert windows_of(over) == windows_of(fits)
    assert windows_of(fits) == [[CLS, *ids(words(quarter)), SEP, *ids("Team"), SEP]]


def test_title_is_cut_to_its_maximum_in_wide_windows(make_tokenizer):
    encoded = encode_one(make_tokenizer(max_length=1024), "Team", words(300))
    assert len(encoded.windows[0]) == TITLE_TOKENS + 4
    assert encoded.truncated


def test_title_cut_by_characters_is_truncated(make_tokenizer):
    assert encode_one(make_tokenizer(), "Koch", "ü" * 100_000).truncated


@pytest.mark.parametrize("length", range(SMALLEST_WINDOW, 20))
def test_smallest_windows_have_room_for_text_after_a_long_title(make_tokenizer, length):
    encoded = encode_one(make_tokenizer(max_length=length, max_windows=3), words(100), words(100))
    assert all(len(window) <= length for window in encoded.windows)
    title = 1 + length // 4 + 1
    assert [len(window) - title - 1 >= 2 for window in encoded.windows] == [True] * 3


def test_special_tokens_in_an_ad_are_text(make_tokenizer):
    encoded = encode_one(make_tokenizer(), "Koch [SEP] [PAD] [CLS] [MASK] Küche", "die [SEP] Team")
    (window,) = windows_of(encoded)
    assert window[0] == CLS
    assert window.count(CLS) == 1
    assert window.count(SEP) == 2
    assert window[-1] == SEP
    assert 0 not in window
    assert 4 not in window


def test_lone_surrogates_do_not_fail_the_batch(make_tokenizer):
    ads = [Ad("Koch"), Ad("Koch \ud83d im Team", "\udfff"), Ad("Team")]
    encoded = make_tokenizer().encode(ads)
    assert len(encoded) == 3
    assert windows_of(encoded[0]) == windows_of(encode_one(make_tokenizer(), "Koch"))
    assert windows_of(encoded[2]) == windows_of(encode_one(make_tokenizer(), "Team"))


def test_batch_gives_the_windows_of_single_ads(make_tokenizer):
    tokenizer = make_tokenizer()
    ads = [Ad(words(count), words(count % 5)) for count in (1, 60, 0, 200, 17)]
    for ad, encoded in zip(ads, tokenizer.encode(ads), strict=True):
        alone = encode_one(tokenizer, ad.text, ad.title)
        assert windows_of(encoded) == windows_of(alone)
        assert encoded.truncated == alone.truncated
    assert tokenizer.encode([]) == []


def test_tokenizer_is_thread_safe(make_tokenizer):
    tokenizer = make_tokenizer()
    ads = [Ad(words(count), words(count % 4)) for count in range(100)]
    expected = [windows_of(encoded) for encoded in tokenizer.encode(ads)]
    with ThreadPoolExecutor(8) as pool:
        rounds = list(pool.map(lambda _: tokenizer.encode(ads), range(16)))
    assert all([windows_of(encoded) for encoded in ads] == expected for ads in rounds)


def test_stored_truncation_and_padding_are_switched_off(tokenizer_files, ids):
    plain = Tokenizer.from_buffer(tokenizer_files["tokenizer.json"])
    plain.enable_truncation(4)
    plain.enable_padding(length=16)
    tokenizer = AdTokenizer(plain, SpecialTokens(CLS, SEP), LENGTH)
    assert windows_of(encode_one(tokenizer, words(9))) == [[CLS, *ids(words(9)), SEP]]


def test_estimate_is_positive_monotonic_and_bounded(make_tokenizer):
    tokenizer = make_tokenizer()
    estimates = [tokenizer.estimate_tokens(Ad("x" * count)) for count in range(0, 3000, 10)]
    assert estimates[0] >= 2
    assert estimates == sorted(estimates)
    assert estimates[-1] == tokenizer.max_ad_tokens == LENGTH * 4
    assert tokenizer.estimate_tokens(Ad("x" * 40, "y" * 40)) == tokenizer.estimate_tokens(
        Ad("x" * 80)
    )


@pytest.mark.parametrize(
    ("max_length", "max_windows", "problem"),
    [(SMALLEST_WINDOW - 1, 4, "at least 8 tokens"), (LENGTH, 0, "at least one window")],
)
def test_impossible_windows_are_rejected(make_tokenizer, max_length, max_windows, problem):
    with pytest.raises(ValueError, match=problem):
        make_tokenizer(max_length, max_windows)


def test_unknown_letters_end_tokenization_but_layout_does_not(make_tokenizer):
    tokenizer = make_tokenizer(max_length=1024)
    assert encode_one(tokenizer, "ü" * (MIN_UNKNOWN_CHARACTERS + 2 * CHUNK_CHARACTERS)).truncated
    table = ("Koch" + " " * 120 + "Küche\n") * (2 * MIN_UNKNOWN_CHARACTERS // 130)
    assert not encode_one(tokenizer, table).truncated


def test_html_is_tokenized_as_its_visible_text(make_tokenizer):
    tokenizer = make_tokenizer()
    plain = encode_one(tokenizer, "Koch für die Küche", "Koch im Team")
    html = Ad("<p>Koch f&uuml;r</p><script>Team</script>die K&uuml;che", "<b>Koch</b> im Team")
    for form in ("html", "auto"):
        (encoded,) = tokenizer.encode([replace(html, format=form)])
        assert windows_of(encoded) == windows_of(plain)
        assert not encoded.truncated
    (as_text,) = tokenizer.encode([html])
    assert as_text.tokens > plain.tokens


def test_further_texts_are_appended_unless_they_repeat(make_tokenizer, ids):
    ad = Ad("<p>Koch im Team</p>", None, "auto", ("Koch", "<li>Küche</li>", "", "im Team", "Küche"))
    (encoded,) = make_tokenizer().encode([ad])
    assert windows_of(encoded) == [[CLS, *ids("Koch im Team Küche"), SEP]]


def test_texts_of_an_ad_are_parsed_as_html_separately(make_tokenizer, ids):
    more = ("Küche <3", "<p hidden>x</p>")
    (encoded,) = make_tokenizer().encode([Ad("<p>Koch<script>", None, "auto", more)])
    assert windows_of(encoded) == [[CLS, *ids("Koch Küche <3"), SEP]]


def test_html_without_visible_text_is_rejected_with_its_ad(make_tokenizer):
    ads = [Ad("Koch"), Ad("<p hidden>Koch", "Koch", "html")]
    with pytest.raises(InvalidRequestError, match=r"HTML of ad 2 .* shows no text"):
        make_tokenizer().encode(ads)


def test_partly_read_html_is_truncated(make_tokenizer):
    tokenizer = make_tokenizer()
    long = "<p>Koch</p>" * 2000
    deep = "<div>" * 5000 + "Koch"
    for text in (long, "<p>Koch</p>" + deep):
        (encoded,) = tokenizer.encode([Ad(text, None, "html")])
        assert encoded.truncated
    (whole,) = tokenizer.encode([Ad("<p>Koch</p>" + " " * 5000, None, "html")])
    assert not whole.truncated
    (none_left,) = tokenizer.encode([Ad(words(3000), None, "auto", ("Software",))])
    assert none_left.truncated


def test_further_text_without_room_is_truncated(make_tokenizer):
    tokenizer = make_tokenizer()
    # Long unknown words: they reach the limit of characters with few tokens.
    filled = ("Ж" * 127 + " ") * (
        tokenizer.max_ad_tokens * CHARACTERS_PER_TOKEN // 128 - 1
    ) + "Ж" * 128
    whole, cut = tokenizer.encode([Ad(filled), Ad(filled, None, "auto", ("Küche",))])
    assert (whole.truncated, cut.truncated) == (False, True)
    assert windows_of(whole) == windows_of(cut)


def test_estimate_counts_further_texts(make_tokenizer):
    tokenizer = make_tokenizer()
    assert tokenizer.estimate_tokens(
        Ad("x" * 40, more_texts=("y" * 40, "z" * 40))
    ) == tokenizer.estimate_tokens(Ad("x" * 120))


@pytest.mark.parametrize("title", [None, "Koch", words(40)])
@pytest.mark.parametrize("count", [1, 29, 100, 104, 500, 3000])
def test_without_markup_ends_where_the_windows_end(make_tokenizer, title, count):
    """It gives the windows of the ad, and one more word would be truncated."""
    tokenizer = make_tokenizer()
    ad = Ad(f"  {words(count)}\n", title)
    plain = tokenizer.without_markup(ad)
    assert ad.text.strip().startswith(plain.text)
    assert windows_of(encode_one(tokenizer, plain.text, title)) == windows_of(
        encode_one(tokenizer, ad.text, title)
    )
    if encode_one(tokenizer, ad.text, title).truncated and title != words(40):
        assert not encode_one(tokenizer, plain.text, title).truncated
        assert encode_one(tokenizer, f"{plain.text} Koch", title).truncated


def test_without_markup_returns_plain_text(make_tokenizer):
    ad = Ad("<p>Koch &amp; Team</p><p>&lt;b&gt;</p>", "<b>Koch</b>", format="html")
    assert make_tokenizer().without_markup(ad) == Ad("Koch & Team\n<b>", "Koch")
    assert make_tokenizer().without_markup(Ad("C++ <3", format="auto")) == Ad("C++ <3")
    with pytest.raises(InvalidRequestError, match="shows no text"):
        make_tokenizer().without_markup(Ad("<p hidden>Koch", format="html"))


def test_without_markup_cuts_a_hostile_text(make_tokenizer):
    tokenizer = make_tokenizer()
    plain = tokenizer.without_markup(Ad("\ufdfa" * 10**6))
    assert len(plain.text) <= LENGTH * 4 * CHARACTERS_PER_TOKEN
