import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.text.html_text import (
    CHUNK_CHARACTERS,
    MARKUP_PER_CHARACTER,
    MAX_DEPTH,
    is_html,
    plain_text,
    visible_text,
)

LIMIT = 1000


def visible(markup: str) -> str:
    text, cut = visible_text(markup, LIMIT)
    assert not cut
    return text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<h2>Profil</h2><ul><li>Abitur<li>Englisch</ul>", "Profil\nAbitur\nEnglisch"),
        ("<p>Koch</p><p>Kellner</p>", "Koch\nKellner"),
        ("<div>Koch</div>in<section>Bern</section>", "Koch\nin\nBern"),
        ("<table><tr><td>Pensum<td>80 %</table>", "Pensum\n80 %"),
        ("<dl><dt>Ort<dd>Bern</dl>", "Ort\nBern"),
        ("Koch<br>Kellner<br/>Wirt<hr>Bern", "Koch\nKellner\nWirt\nBern"),
        ("<job><titel>Koch</titel><ort>Bern</ort></job>", "Koch\nBern"),
    ],
)
def test_blocks_start_a_new_line(markup, text):
    assert visible(markup) == text


def test_inline_elements_do_not_split_words():
    assert (
        visible("Pfl<b>ege</b>fach<span>kraft</span> <i>(m/w/d)</i>") == "Pflegefachkraft (m/w/d)"
    )


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("K&ouml;chin &amp; B&#228;cker&#x21; &euro;", "Köchin & Bäcker! €"),
        ("F&amp;B bei AT&T", "F&B bei AT&T"),
        ("C&lt;3 und C++ <3", "C<3 und C++ <3"),
        ("Pflege&shy;fach&#8203;kraft", "Pflegefachkraft"),
        ("<p> Koch&nbsp;&nbsp; in \t Bern </p>\n\n<p>\u2003</p>", "Koch in Bern"),
        ("Koch\nin Bern", "Koch\nin Bern"),
        ("\ud800 Koch \udfff", "? Koch ?"),
        ("Koch 👩‍🍳", "Koch 👩‍🍳"),
        ('<meta charset="latin-1">Köchin', "Köchin"),
    ],
)
def test_references_are_decoded_and_white_space_collapsed(markup, text):
    assert visible(markup) == text


HIDDEN = [
    "<script>Arzt < 3</script>",
    "<SCRIPT type='x'>if (a</b) Arzt</SCRIPT >",
    "<style>.Arzt{}</style>",
    "<template><p>Arzt</p></template>",
    "<noscript>Arzt</noscript>",
    "<!-- Arzt --><!--[if mso]>Arzt<![endif]-->",
    "<p hidden>Arzt<b>Arzt</b></p>",
    "<div style='color:red; DISPLAY : none'><p>Arzt<ul><li>Arzt</ul></div>",
    "<span style=visibility:hidden>Arzt</span>",
    "<i aria-hidden=true>Arzt</i>",
    "<svg><title>Arzt</title></svg>",
    "<select><option>Arzt</select><textarea>Arzt</textarea><button>Arzt</button>",
    "<img alt='Arzt' src='data:image/png;base64,Arzt'>",
    "<a title='Arzt' href='Arzt'></a>",
]


@pytest.mark.parametrize("markup", HIDDEN)
def test_hidden_content_is_left_out(markup):
    assert visible(f"<p>Koch</p>{markup}<p>Bern</p>") == "Koch\nBern"


@pytest.mark.parametrize("markup", ["", " ", "<p>", "<script>Koch", "<!-- Koch", "<p hidden>Koch"])
def test_html_without_visible_text_gives_an_empty_text(markup):
    assert visible(markup) == ""


HTML = [
    "<p>Koch",
    "Koch<br>Bern",
    "Koch <br/> Bern",
    "<li class='a'>Koch",
    "<b>Koch</b>",
    "<a href='x'>Koch",
    "Koch</p>",
    "<div\nid=a>Koch",
    "<IMG SRC='data:image/png;base64," + "A" * 9000,
    "K&ouml;chin",
    "R&amp;D",
    "Koch&nbsp;Bern",
    "&#8226; Koch",
    "&lt;p&gt;Koch&lt;/p&gt;",
]
PLAIN = [
    "Koch in Bern",
    "Kenntnisse in C++ <3 und a < b > c",
    "wenn a<b und c>d ist",
    "Pensum <80 % oder >60 %",
    "Bewerbung an <jobs@beispiel.de> oder <https://beispiel.de/p>",
    "Vector<String>, List<i>, Map<K, V>, std::vector<b>",
    "<stelle><titel>Koch</titel><beschreibung>Bern</beschreibung></stelle>",
    '<?xml version="1.0"?><job id="3"><title>Koch</title><section>Bern</section></job>',
    "AT&T; Koch & Kellner; F&B &c. &stelle;",
    "<-- hier --> <== da ==>",
    "<Koch> <3 </3 <> </> <p",
]


@pytest.mark.parametrize("text", HTML)
def test_html_is_detected(text):
    assert is_html(text)


@pytest.mark.parametrize("text", PLAIN)
def test_text_with_angle_brackets_is_not_html(text):
    assert not is_html(text)
    assert plain_text(text, "auto", LIMIT) == (text, False)


def test_format_decides_whether_html_is_parsed():
    markup = "<p>K&ouml;chin</p>"
    assert plain_text(markup, "text", LIMIT) == (markup, False)
    assert plain_text(markup, "html", LIMIT) == ("Köchin", False)
    assert plain_text(markup, "auto", LIMIT) == ("Köchin", False)
    assert plain_text("a < b <jobs@x.de> c", "html", LIMIT) == ("a < b\nc", False)


def test_html_escaped_twice_is_decoded_but_not_thrice():
    once, twice, thrice = "<p>Koch", "&lt;p&gt;Koch", "&amp;lt;p&amp;gt;Koch"
    assert [plain_text(text, "auto", LIMIT)[0] for text in (once, twice)] == ["Koch", "Koch"]
    assert plain_text(thrice, "auto", LIMIT)[0] == "<p>Koch"
    assert plain_text(twice, "html", LIMIT)[0] == "<p>Koch"


def test_cut_in_the_first_decoding_is_reported_after_the_second():
    text, cut = plain_text("&lt;p&gt;Koch&lt;/p&gt;" * 1000, "auto", LIMIT)
    assert set(text.splitlines()[:-1]) == {"Koch"}
    assert cut


class CountingStr(str):
    """A string that counts the characters sliced from it."""

    taken = 0

    def __getitem__(self, place):
        part = super().__getitem__(place)
        self.taken += len(part)
        return part


SIZE = 8 * 2**20


def repeated(part: str) -> str:
    return part * (SIZE // len(part))


BOMBS = {
    "tags": repeated("<p>"),
    "closing tags": repeated("</p>"),
    "attributes": "<p " + repeated("a=b "),
    "different attributes": "<p " + " ".join(f"a{n}=1" for n in range(SIZE // 10)) + ">",
    "an attribute": "<p a='" + "b" * SIZE,
    "a tag's name": "<" + "p" * SIZE,
    "angles": repeated("<"),
    "opened tags": repeated("<a "),
    "comments": repeated("<!--"),
    "half comments": "<!--" + repeated("--!"),
    "declarations": repeated("<!"),
    "instructions": repeated("<?"),
    "sections": repeated("<![CDATA["),
    "ends": repeated("</"),
    "references": repeated("&lt;"),
    "half references": repeated("&#1"),
    "one reference": "&" + "a" * SIZE,
    "blanks": "<p>" + " " * SIZE,
    "NUL": "\0" * SIZE,
    "script": "<script>" + repeated("<script>"),
    "items": repeated("<li>"),
    "rows": repeated("<table><tr><td>"),
    # In a tree, each paragraph would repeat all open elements: quadratic memory.
    "formatting": "".join(f"<b id={n}><p>" for n in range(SIZE // 14)),
}
DEEP = {
    "elements": repeated("<div>"),
    "formatting": repeated("<b>"),
    "misnested": "".join(f"<i id={n}>" for n in range(10_000)) + repeated("</b>"),
    "custom": "".join(f"<a{n}>" for n in range(SIZE // 10)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_markup_bomb_is_parsed_up_to_a_fixed_size(name):
    bomb = CountingStr(BOMBS[name])
    text, cut = visible_text(bomb, LIMIT)
    assert bomb.taken <= LIMIT * MARKUP_PER_CHARACTER
    assert len(text) <= LIMIT + CHUNK_CHARACTERS
    assert cut


@pytest.mark.parametrize("name", DEEP)
def test_parsing_stops_at_the_maximum_depth(name):
    """A closing tag is compared with all open elements: at most quadratic in one chunk."""
    bomb = CountingStr(DEEP[name])
    assert visible_text(bomb, 100 * LIMIT)[1]
    assert bomb.taken <= (MAX_DEPTH // (CHUNK_CHARACTERS // 14) + 2) * CHUNK_CHARACTERS


def test_parsing_stops_after_enough_text():
    markup = CountingStr("<p>Koch in Bern</p>" * 100_000)
    text, cut = visible_text(markup, LIMIT)
    assert cut
    assert LIMIT < len(text) < LIMIT + CHUNK_CHARACTERS
    assert markup.taken <= 2 * LIMIT + CHUNK_CHARACTERS
    assert set(text.splitlines()[:-1]) == {"Koch in Bern"}


def test_detection_looks_at_readable_characters_only():
    plain = CountingStr("Koch " * 100_000)
    assert plain_text(plain, "auto", LIMIT) == (plain, False)
    assert plain.taken <= LIMIT


def test_embedded_picture_before_the_text_is_skipped():
    markup = f"<img src='data:image/png;base64,{'A' * 20 * LIMIT}'><p>Koch</p>"
    assert plain_text(markup, "auto", LIMIT) == ("Koch", False)


PIECES = st.sampled_from(
    ["<p>", "</p>", "<b", ">", "<", "/>", "&", ";", "&amp;", "&#0;", "&#xD800;", "<!--", "-->",
     "<script>", "</script>", "<![CDATA[", "]]>", "<table>", "<td hidden>", "='", '"', "\0", "\r",
     "<svg>", "<title>", "<frameset>", "<plaintext>", "<?xml", "<!doctype html>", "\ufeff", "\x0c"]
) | st.text(st.characters(codec=None, exclude_categories=[]), max_size=8)  # fmt: skip


@settings(max_examples=400, deadline=None, database=None)
@given(st.lists(PIECES, max_size=30).map("".join), st.integers(1, 300))
def test_any_markup_gives_clean_lines(markup, limit):
    for text_format in ("html", "auto"):
        text, cut = plain_text(markup, text_format, limit)
        if text_format == "html" or is_html(markup[:limit]):
            assert all(line == " ".join(line.split()) and line for line in text.splitlines())
            assert not cut or len(markup) > min(CHUNK_CHARACTERS, limit * MARKUP_PER_CHARACTER)
        else:
            assert (text, cut) == (markup, False)


WORDS = st.lists(st.text("Kochinä ", min_size=1, max_size=9), min_size=1, max_size=9)


@settings(max_examples=200, deadline=None, database=None)
@given(WORDS, st.sampled_from(["<p>{}</p>", "<li>{}", "<div><b>{}</b></div>", "{}<br>"]))
def test_all_words_are_kept_in_order(words, block):
    markup = "".join(block.format(word) for word in words)
    lines = [" ".join(word.split()) for word in words]
    assert visible_text(markup, LIMIT) == ("\n".join(filter(None, lines)), False)


@settings(max_examples=200, deadline=None, database=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="<&\0\r")))
def test_text_without_markup_keeps_its_words(text):
    given_words = re.sub("[\u00ad\u200b\u2060\ufeff]", "", text).split()
    assert visible_text(text, LIMIT)[0].replace("\ufeff", "").split() == given_words
