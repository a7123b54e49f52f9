from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from tokenizers import Tokenizer

from app.core.errors import InvalidRequestError
from app.core.types import Ad
from app.text.tokenization import (
    BARREN_CHARACTERS,
    CHARACTERS_A_TOKEN,
    SLICE,
    SMALLEST_WINDOW,
    TITLE_TOKENS,
    AdTokenizer,
    SpecialTokens,
    spans,
)
from tests.support.repository import DEMO, shared_ads

CLS, SEP = 2, 3
LENGTH = 32
# Each of these is one piece of the tests' vocabulary.
WORDS = ["Koch", "für", "die", "Küche", "mit", "Speisen", "im", "Restaurant", "Team", "Software"]


def words(count: int) -> str:
    return " ".join(WORDS[index % len(WORDS)] for index in range(count))


@pytest.fixture(scope="module")
def make(tokenizer_files):
    """Return a maker of tokenizers: window length and most windows in, an `AdTokenizer` out."""

    def maker(max_length=LENGTH, max_windows=4):
        plain = Tokenizer.from_buffer(tokenizer_files["tokenizer.json"])
        return AdTokenizer(plain, SpecialTokens(CLS, SEP), max_length, max_windows)

    return maker


@pytest.fixture(scope="module")
def ids(tokenizer_files):
    """Return the plain tokenizer's ids of a text."""
    plain = Tokenizer.from_buffer(tokenizer_files["tokenizer.json"])
    return lambda text: plain.encode(text, add_special_tokens=False).ids


def one(tokenizer: AdTokenizer, text: str, title: str | None = None):
    (encoded,) = tokenizer.encode([Ad(text, title)])
    return encoded


def windows_of(encoded) -> list[list[int]]:
    return [window.tolist() for window in encoded.windows]


def cases():
    for room in (3, 4, 7, 29, 100):
        for overlap in {0, room // 8, room // 2}:
            for limit in (1, 2, 4, 9):
                for length in [*range(4 * room + 3), 9 * room, 11 * room]:
                    yield length, room, overlap, limit


def test_spans_fit_come_in_order_and_leave_no_gap():
    for case in cases():
        length, room, _, limit = case
        parts = spans(*case)
        assert 1 <= len(parts) <= limit, case
        assert parts[0][0] == 0, case
        assert parts[-1][1] <= length, case
        assert all(end - start <= room for start, end in parts), case
        assert all(before[1] >= after[0] for before, after in pairwise(parts)), case
        assert all(before[0] < after[0] for before, after in pairwise(parts)), case


def test_spans_read_everything_unless_the_limit_forbids_it():
    for case in cases():
        length, room, overlap, limit = case
        most = room + (limit - 1) * (room - overlap)
        assert spans(*case)[-1][1] == min(length, most), case


def test_spans_are_even_and_share_at_least_the_overlap():
    for case in cases():
        _, _, overlap, _ = case
        parts = spans(*case)
        assert len({end - start for start, end in parts}) == 1, case
        assert all(before[1] - after[0] >= overlap for before, after in pairwise(parts)), case


def test_spans_are_no_longer_than_needed():
    """The last window is no remnant, and no token is read more often than the overlap asks."""
    for case in cases():
        _, _, overlap, _ = case
        parts = spans(*case)
        shorter = parts[0][1] - 1
        assert shorter * len(parts) - overlap * (len(parts) - 1) < parts[-1][1] or not shorter, case


def test_spans_are_no_more_than_needed():
    for case in cases():
        length, room, overlap, _ = case
        count = len(spans(*case))
        assert count == 1 or length > room + (count - 2) * (room - overlap), case


def test_a_window_is_cls_title_sep_text_sep(make, ids):
    encoded = one(make(), "Koch für die Küche", "Software im Team")
    assert windows_of(encoded) == [
        [CLS, *ids("Software im Team"), SEP, *ids("Koch für die Küche"), SEP]
    ]
    assert encoded.windows[0].dtype == np.int32
    assert not encoded.truncated


@pytest.mark.parametrize("title", [None, "", "   \n", "\u200b"])
def test_without_a_title_a_window_is_cls_text_sep(make, ids, title):
    assert windows_of(one(make(), "Koch", title)) == [[CLS, *ids("Koch"), SEP]]


def test_an_empty_text_still_has_a_window_to_read(make, ids):
    assert windows_of(one(make(), "")) == [[CLS, SEP]]
    assert windows_of(one(make(), " ", "Koch")) == [[CLS, *ids("Koch"), SEP, SEP]]


@pytest.mark.parametrize("title", [None, "Koch im Team"])
def test_the_longest_text_of_one_window_fills_it(make, ids, title):
    room = LENGTH - 2 - (len(ids(title)) + 1 if title else 0)
    full, over = one(make(), words(room), title), one(make(), words(room + 1), title)
    assert [len(window) for window in full.windows] == [LENGTH]
    assert len(over.windows) == 2
    assert not full.truncated
    assert not over.truncated


@pytest.mark.parametrize("title", [None, "Koch im Team"])
@pytest.mark.parametrize("count", range(25, 95, 7))
def test_windows_repeat_the_title_and_together_read_the_whole_text(make, ids, title, count):
    tokenizer = make()
    text = ids(words(count))
    encoded = one(tokenizer, words(count), title)
    head = [CLS, *ids(title), SEP] if title else [CLS]
    parts = []
    for window in windows_of(encoded):
        assert window[: len(head)] == head
        assert window[-1] == SEP
        assert len(window) <= LENGTH
        parts.append(window[len(head) : -1])
    room = LENGTH - len(head) - 1
    expected = [text[start:end] for start, end in spans(len(text), room, room // 8, 4)]
    assert parts == expected
    assert not encoded.truncated
    read = set()
    for start, end in spans(len(text), room, room // 8, 4):
        read.update(range(start, end))
    assert read == set(range(len(text)))


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_a_text_beyond_its_windows_is_cut_and_says_so(make, limit):
    room = LENGTH - 2
    most = room + (limit - 1) * (room - room // 8)
    fits, over = (one(make(max_windows=limit), words(n)) for n in (most, most + 1))
    assert (len(fits.windows), fits.truncated) == (limit, False)
    assert (len(over.windows), over.truncated) == (limit, True)
    assert windows_of(over)[0] == windows_of(fits)[0]
    assert over.tokens == LENGTH * limit


def test_an_absurdly_long_text_is_cut_before_it_is_tokenized(make):
    tokenizer = make()
    # One word of a million letters is a single unknown piece: only the characters are too many.
    encoded = one(tokenizer, "ü" * 1_000_000)
    assert encoded.tokens == 3
    assert encoded.truncated
    assert not one(tokenizer, "ü" * (tokenizer.longest * CHARACTERS_A_TOKEN)).truncated


def test_white_space_around_a_text_costs_nothing(make):
    tokenizer = make()
    blank = " \n" * tokenizer.longest * 10
    assert windows_of(one(tokenizer, blank + "Koch" + blank)) == windows_of(one(tokenizer, "Koch"))
    assert not one(tokenizer, blank + "Koch" + blank).truncated


def test_a_long_title_is_cut_to_a_quarter_of_the_window_and_says_so(make, ids):
    quarter = LENGTH // 4
    fits, over = (one(make(), "Team", words(count)) for count in (quarter, quarter + 1))
    assert not fits.truncated
    assert over.truncated
    assert windows_of(over) == windows_of(fits)
    assert windows_of(fits) == [[CLS, *ids(words(quarter)), SEP, *ids("Team"), SEP]]


def test_a_title_never_takes_more_than_its_tokens_of_a_wide_window(make):
    encoded = one(make(max_length=1024), "Team", words(300))
    assert len(encoded.windows[0]) == TITLE_TOKENS + 4
    assert encoded.truncated


def test_a_title_cut_by_characters_alone_says_so(make):
    assert one(make(), "Koch", "ü" * 100_000).truncated


@pytest.mark.parametrize("length", range(SMALLEST_WINDOW, 20))
def test_even_the_smallest_window_has_room_for_text_beside_a_long_title(make, length):
    encoded = one(make(max_length=length, max_windows=3), words(100), words(100))
    assert all(len(window) <= length for window in encoded.windows)
    title = 1 + length // 4 + 1
    assert [len(window) - title - 1 >= 2 for window in encoded.windows] == [True] * 3


def test_special_tokens_typed_into_an_ad_are_text(make):
    encoded = one(make(), "Koch [SEP] [PAD] [CLS] [MASK] Küche", "die [SEP] Team")
    (window,) = windows_of(encoded)
    assert window[0] == CLS
    assert window.count(CLS) == 1
    assert window.count(SEP) == 2
    assert window[-1] == SEP
    assert 0 not in window
    assert 4 not in window


def test_half_a_surrogate_pair_harms_neither_its_ad_nor_the_neighbours(make):
    ads = [Ad("Koch"), Ad("Koch \ud83d im Team", "\udfff"), Ad("Team")]
    given = make().encode(ads)
    assert len(given) == 3
    assert windows_of(given[0]) == windows_of(one(make(), "Koch"))
    assert windows_of(given[2]) == windows_of(one(make(), "Team"))


def test_ads_are_encoded_in_order_as_if_alone(make):
    tokenizer = make()
    ads = [Ad(words(count), words(count % 5)) for count in (1, 60, 0, 200, 17)]
    together = tokenizer.encode(ads)
    for ad, encoded in zip(ads, together, strict=True):
        alone = one(tokenizer, ad.text, ad.title)
        assert windows_of(encoded) == windows_of(alone)
        assert encoded.truncated == alone.truncated
    assert tokenizer.encode([]) == []


def test_a_tokenizer_may_be_used_from_several_threads(make):
    tokenizer = make()
    ads = [Ad(words(count), words(count % 4)) for count in range(100)]
    expected = [windows_of(encoded) for encoded in tokenizer.encode(ads)]
    with ThreadPoolExecutor(8) as pool:
        rounds = list(pool.map(lambda _: tokenizer.encode(ads), range(16)))
    assert all([windows_of(encoded) for encoded in given] == expected for given in rounds)


def test_truncation_and_padding_stored_in_a_tokenizer_are_switched_off(tokenizer_files, ids):
    plain = Tokenizer.from_buffer(tokenizer_files["tokenizer.json"])
    plain.enable_truncation(4)
    plain.enable_padding(length=16)
    tokenizer = AdTokenizer(plain, SpecialTokens(CLS, SEP), LENGTH)
    assert windows_of(one(tokenizer, words(9))) == [[CLS, *ids(words(9)), SEP]]


def test_the_estimate_is_positive_grows_and_never_exceeds_the_longest_ad(make):
    tokenizer = make()
    given = [tokenizer.estimate(Ad("x" * count)) for count in range(0, 3000, 10)]
    assert given[0] >= 2
    assert given == sorted(given)
    assert given[-1] == tokenizer.longest == LENGTH * 4
    assert tokenizer.estimate(Ad("x" * 40, "y" * 40)) == tokenizer.estimate(Ad("x" * 80))


@pytest.mark.parametrize(
    ("max_length", "max_windows", "problem"),
    [(SMALLEST_WINDOW - 1, 4, "at least 8 tokens"), (LENGTH, 0, "at least one window")],
)
def test_windows_that_cannot_be_are_refused(make, max_length, max_windows, problem):
    with pytest.raises(ValueError, match=problem):
        make(max_length, max_windows)


class Counting:
    """A tokenizer that counts the characters it is handed and the pieces it makes."""

    def __init__(self, tokenizer):
        self._tokenizer, self.characters, self.pieces = tokenizer, 0, 0

    def encode_batch_fast(self, parts, add_special_tokens):
        encodings = self._tokenizer.encode_batch_fast(parts, add_special_tokens=add_special_tokens)
        self.characters += sum(map(len, parts))
        self.pieces += sum(len(encoding.ids) for encoding in encodings)
        return encodings

    def __getattr__(self, name):
        return getattr(self._tokenizer, name)


TOKENIZER = DEMO / "tokenizer.json"
MEGABYTE = 1_000_000
ORDINARY_CHARACTERS, ORDINARY_TOKENS = 1650, 360
"""Of the mean of 2,059 real ads."""
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
# These read like an ad, so they are read like one: as far as four windows go.
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
    """Return the characters and the pieces that an ad costs, read in four windows of 512."""
    counting = Counting(tokenizer)
    AdTokenizer(counting, SpecialTokens(0, 2), 512, 4).encode([Ad(text, title)])
    return counting.characters, counting.pieces


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_megabyte_costs_less_than_five_ordinary_ads(demo_tokenizer, name):
    characters, pieces = cost(demo_tokenizer, HOSTILE[name])
    assert characters < 5 * ORDINARY_CHARACTERS
    # The last slice may be of letters that are many once normalized.
    assert pieces < 5 * ORDINARY_TOKENS + 18 * SLICE


@pytest.mark.parametrize("name", LIKE_AN_AD)
def test_a_megabyte_of_words_costs_no_more_than_the_longest_ad_that_is_read(demo_tokenizer, name):
    characters, pieces = cost(demo_tokenizer, LIKE_AN_AD[name])
    assert characters <= 2048 * CHARACTERS_A_TOKEN
    assert pieces < 2048 + SLICE


@pytest.mark.parametrize("name", HOSTILE | LIKE_AN_AD)
def test_a_hostile_title_costs_less_than_an_ordinary_ad(demo_tokenizer, name):
    characters, _ = cost(demo_tokenizer, "Koch", (HOSTILE | LIKE_AN_AD)[name])
    assert characters < ORDINARY_CHARACTERS


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_left_of_a_hostile_megabyte_is_told(demo_tokenizer, name):
    tokenizer = AdTokenizer(demo_tokenizer, SpecialTokens(0, 2), 512, 4)
    assert tokenizer.encode([Ad(HOSTILE[name])])[0].truncated


def whole(tokenizer, text):
    """Tokenize a text in one go, up to what may be read."""
    return tokenizer.encode(text.strip(), add_special_tokens=False).ids


@pytest.mark.parametrize("gap", [" ", "\n", "  \n ", "\t", "\u00a0", " " * 100, " - ", ".\n\n"])
@pytest.mark.parametrize("kind", ["tests", "demo"])
def test_reading_in_slices_gives_the_tokens_of_the_whole(kind, gap, tokenizer_files, request):
    if kind == "demo":
        tokenizer = request.getfixturevalue("demo_tokenizer")
    else:
        tokenizer = Tokenizer.from_buffer(tokenizer_files["tokenizer.json"])
    reader = AdTokenizer(tokenizer, SpecialTokens(0, 2), 4096, 1)
    for offset in range(0, 60, 7):
        text = gap.join(["x" * offset, *WORDS * (6 if len(gap) > 9 else 60)])
        (window,) = windows_of(reader.encode([Ad(text)])[0])
        assert window[1:-1] == whole(tokenizer, text)


def test_real_ads_are_read_in_slices_as_in_one(demo_tokenizer):
    ads = shared_ads(3000)
    if ads is None:
        pytest.skip("the project's ads are not at hand")
    reader = AdTokenizer(demo_tokenizer, SpecialTokens(0, 2), 8192, 1)
    texts = [ad["text"] for ad in ads]
    for text, encoded in zip(texts, reader.encode([Ad(text) for text in texts]), strict=True):
        assert windows_of(encoded)[0][1:-1] == whole(demo_tokenizer, text)
        assert not encoded.truncated


def test_letters_that_the_vocabulary_lacks_end_the_reading_and_layout_does_not(make):
    tokenizer = make(max_length=1024)
    assert one(tokenizer, "ü" * (BARREN_CHARACTERS + 2 * SLICE)).truncated
    table = ("Koch" + " " * 120 + "Küche\n") * (2 * BARREN_CHARACTERS // 130)
    assert not one(tokenizer, table).truncated


def test_html_is_read_as_the_text_that_it_shows(make):
    tokenizer = make()
    plain = one(tokenizer, "Koch für die Küche", "Koch im Team")
    html = Ad("<p>Koch f&uuml;r</p><script>Team</script>die K&uuml;che", "<b>Koch</b> im Team")
    for form in ("html", "auto"):
        (encoded,) = tokenizer.encode([replace(html, format=form)])
        assert windows_of(encoded) == windows_of(plain)
        assert not encoded.truncated
    (as_it_is,) = tokenizer.encode([html])
    assert as_it_is.tokens > plain.tokens


def test_further_texts_are_read_behind_the_first_unless_they_repeat_it(make, ids):
    ad = Ad("<p>Koch im Team</p>", None, "auto", ("Koch", "<li>Küche</li>", "", "im Team", "Küche"))
    (encoded,) = make().encode([ad])
    assert windows_of(encoded) == [[CLS, *ids("Koch im Team Küche"), SEP]]


def test_each_text_of_an_ad_is_html_of_its_own(make, ids):
    more = ("Küche <3", "<p hidden>x</p>")
    (encoded,) = make().encode([Ad("<p>Koch<script>", None, "auto", more)])
    assert windows_of(encoded) == [[CLS, *ids("Koch Küche <3"), SEP]]


def test_html_that_shows_nothing_is_refused_with_its_ad(make):
    ads = [Ad("Koch"), Ad("<p hidden>Koch", "Koch", "html")]
    with pytest.raises(InvalidRequestError, match=r"HTML of ad 2 .* shows no text"):
        make().encode(ads)


def test_html_that_is_read_in_part_is_truncated(make):
    tokenizer = make()
    long = "<p>Koch</p>" * 2000
    deep = "<div>" * 5000 + "Koch"
    for text in (long, "<p>Koch</p>" + deep):
        (encoded,) = tokenizer.encode([Ad(text, None, "html")])
        assert encoded.truncated
    (whole,) = tokenizer.encode([Ad("<p>Koch</p>" + " " * 5000, None, "html")])
    assert not whole.truncated
    (none_left,) = tokenizer.encode([Ad(words(3000), None, "auto", ("Software",))])
    assert none_left.truncated


def test_a_further_text_without_room_is_a_cut(make):
    tokenizer = make()
    # Long unknown words: all that may be read are few tokens.
    filled = ("Ж" * 127 + " ") * (tokenizer.longest * CHARACTERS_A_TOKEN // 128 - 1) + "Ж" * 128
    whole, cut = tokenizer.encode([Ad(filled), Ad(filled, None, "auto", ("Küche",))])
    assert (whole.truncated, cut.truncated) == (False, True)
    assert windows_of(whole) == windows_of(cut)


def test_further_texts_count_in_the_estimate(make):
    tokenizer = make()
    assert tokenizer.estimate(Ad("x" * 40, more=("y" * 40, "z" * 40))) == tokenizer.estimate(
        Ad("x" * 120)
    )


@pytest.mark.parametrize("title", [None, "Koch", words(40)])
@pytest.mark.parametrize("count", [1, 29, 100, 104, 500, 3000])
def test_the_plain_ad_is_encoded_as_the_ad_and_ends_where_reading_ends(make, title, count):
    tokenizer = make()
    ad = Ad(f"  {words(count)}\n", title)
    plain = tokenizer.without_markup(ad)
    assert ad.text.strip().startswith(plain.text)
    assert windows_of(one(tokenizer, plain.text, title)) == windows_of(
        one(tokenizer, ad.text, title)
    )
    if one(tokenizer, ad.text, title).truncated and title != words(40):
        assert not one(tokenizer, plain.text, title).truncated
        assert one(tokenizer, f"{plain.text} Koch", title).truncated


def test_the_plain_ad_has_no_markup_and_is_read_as_text(make):
    ad = Ad("<p>Koch &amp; Team</p><p>&lt;b&gt;</p>", "<b>Koch</b>", format="html")
    assert make().without_markup(ad) == Ad("Koch & Team\n<b>", "Koch")
    assert make().without_markup(Ad("C++ <3", format="auto")) == Ad("C++ <3")
    with pytest.raises(InvalidRequestError, match="shows no text"):
        make().without_markup(Ad("<p hidden>Koch", format="html"))


def test_a_hostile_text_is_made_plain_for_no_more_than_the_windows(make):
    tokenizer = make()
    plain = tokenizer.without_markup(Ad("\ufdfa" * 10**6))
    assert len(plain.text) <= LENGTH * 4 * CHARACTERS_A_TOKEN
