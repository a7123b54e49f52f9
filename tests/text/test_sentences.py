import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.text.sentences import merge_spans, sentences


def parts(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Wir suchen Sie. Sie kochen!", ["Wir suchen Sie.", "Sie kochen!"]),
        ("Lust? „Dann los!“ Wir warten …", ["Lust?", "„Dann los!“", "Wir warten …"]),
        ("Ihr Profil\n- Abitur\n- Englisch", ["Ihr Profil", "- Abitur", "- Englisch"]),
        ("Profil:\r\n\r\n • Abitur \r\n", ["Profil:", "• Abitur"]),
        ("Aufgaben • Kochen • Backen", ["Aufgaben", "• Kochen", "• Backen"]),
        ("Nous cherchons un cuisinier. Venez !", ["Nous cherchons un cuisinier.", "Venez !"]),
        ("You cook. We pay.", ["You cook.", "We pay."]),
        ("Start 2026. Bewerben Sie sich.", ["Start 2026.", "Bewerben Sie sich."]),
    ],
)
def test_text_is_split_at_lines_items_and_sentence_ends(text, expected):
    assert parts(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Koch (m/w/d) z. B. in Teilzeit",
        "Das sind ca. 40 Stunden bei Dr. Meier, ggf. mehr",
        "Ab dem 1. Januar oder 15. Februar",
        "Ein M. Sc. oder B. A. ist gern gesehen",
        "Gehalt: 3.500 Euro, Node.js und .NET",
        "Mr. Smith and Mrs. Jones",
        "Pflegehilfe, Küche usw. sind gefragt",
    ],
)
def test_abbreviations_and_numbers_do_not_end_a_sentence(text):
    assert parts(text) == [text]


@pytest.mark.parametrize("text", ["", " \n ", "-----\n***", "• \n •"])
def test_text_without_words_has_no_sentences(text):
    assert sentences(text) == []


def test_spans_count_code_points():
    text = "👩‍🍳 Köchin. Bern."
    assert parts(text) == ["👩‍🍳 Köchin.", "Bern."]


PIECES = st.sampled_from(["Koch", " ", ". ", ".", "!\n", "\r\n", "z. B. ", "• ", "1. ", "\u2028"])


@settings(max_examples=300, deadline=None, database=None)
@given(st.lists(PIECES | st.text(max_size=4), max_size=20).map("".join), st.integers(1, 8))
def test_any_text_gives_ordered_spans_that_cover_all_words(text, most):
    for spans in (sentences(text), merge_spans(sentences(text), most)):
        offsets = [offset for span in spans for offset in span]
        assert offsets == sorted(offsets)
        covered = {offset for start, end in spans for offset in range(start, end)}
        assert all(offset in covered for offset, sign in enumerate(text) if sign.isalnum())
        assert all(text[start:end].strip() == text[start:end] != "" for start, end in spans)
    assert len(spans) <= most


def test_neighbours_are_merged_evenly():
    spans = [(index, index + 1) for index in range(10)]
    assert merge_spans(spans, 4) == [(0, 2), (2, 5), (5, 8), (8, 10)]
    assert merge_spans(spans, 10) == merge_spans(spans, 99) == spans


SIZE = 250_000
BOMBS = ["." * SIZE, ". " * SIZE, "a. " * SIZE, ".)" * SIZE, "." + ")" * SIZE, "• " * SIZE,
         "a" * SIZE, "1.\n" * SIZE, " " * SIZE, ".\u00a0" * SIZE]  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: repr(bomb[:3]))
def test_time_is_linear_in_the_length(bomb):
    def seconds(text: str) -> float:
        begin = time.process_time()
        sentences(text)
        return time.process_time() - begin

    # Quadratic time would be 64 times that of an eighth of the text.
    part = min(seconds(bomb[: len(bomb) // 8]) for _ in range(3))
    assert seconds(bomb) < 8 * 4 * max(part, 0.002)
