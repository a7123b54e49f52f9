from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from tokenizers import Tokenizer

from app.records import Ad
from app.tokenization import SMALLEST_WINDOW, TITLE_TOKENS, AdTokenizer, SpecialTokens, spans

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
    assert not one(tokenizer, "ü" * (tokenizer.longest * 10)).truncated


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
