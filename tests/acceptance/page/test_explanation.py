"""The explanation: the text that the model read, with marked sentences."""

import json
import re

import pytest

from tests.support.browser import Page
from tests.support.server_process import running_server

pytestmark = [pytest.mark.browser, pytest.mark.server]

AD = "Koch für die Küche mit Speisen und Menüs im Restaurant"


def parts(page):
    """Return the marked parts: text, direction, level, points shown, words for a screen reader."""
    return page.script(
        "[...document.querySelectorAll('#reading mark')].map(mark => [mark.firstChild.data,"
        " mark.className, Number(mark.dataset.level), mark.querySelector('.points').textContent,"
        " mark.querySelector('.spoken').textContent.trim()])"
    )


def expected_parts(answer, head, text):
    """Return text, direction, level and a pattern of the points of each part to be marked."""
    found = []
    for one in answer["explanation"]["sentences"]:
        weight, size = one[head], abs(one[head])
        if level := sum(size >= least for least in (0.02, 0.08, 0.2)):
            points = re.escape(f"{'+' if weight > 0 else '−'}") + r"\d+"
            way = "for" if weight > 0 else "against"
            found.append((text[one["start"] : one["end"]], way, level, points))
    return found


@pytest.mark.parametrize("markup", [False, True])
def test_sentences_are_marked_for_and_against_each_answer(chromium, swayed, markup):
    page = Page(chromium, swayed)
    text = "👩‍🍳 Koch für die Küche. Studium mit Master!\nabgeschlossene Ausbildung im Beruf"
    sent = f"<p>{text.replace(chr(10), '</p><p>')}</p>" if markup else f"  {text}"
    page.classify(sent, explain=True)
    page.wait("why")
    answer = json.loads(page.code("json"))
    read = answer["explanation"]["text"] if markup else sent
    marked = {}
    for head in ("job_category", "min_education"):
        page.choose("head", head)
        marked[head] = parts(page)
        expected = expected_parts(answer, head, read)
        assert [tuple(one[:3]) for one in marked[head]] == [one[:3] for one in expected]
        for (*_, shown, spoken), (_, way, _, points) in zip(marked[head], expected, strict=True):
            assert re.fullmatch(points, shown)
            assert spoken == f"({shown[1:]} points {'for' if way == 'for' else 'against'} it)"
        label = answer[head]["label"]
        assert f"“{label}”" in page["why-lead"].text
    assert any(marked.values())
    shown = page["reading"].get_property("textContent")
    assert re.sub(r"[+−]\d+ \(\d+ points (for|against) it\) ", "", shown).strip() == text
    # Also visible without colours: lines differ in thickness, and those against are dashed.
    assert page.script(
        "[...document.querySelectorAll('#legend mark')].map(mark => {"
        " const style = getComputedStyle(mark);"
        " return `${style.borderBottomWidth} ${style.borderBottomStyle}`; })"
    ) == ["1px solid", "2px solid", "4px solid", "2px dashed"]


def test_title_is_shown_without_its_markup(chromium, server):
    page = Page(chromium, server)
    page["title"].send_keys("<b>Pflegefachkraft</b> &amp; <script>window.foreign = 1</script>Koch")
    page.choose("format", "html")
    page.classify("<p>im Team</p>", explain=True)
    page.wait("why")
    assert page["reading"].text.startswith("Pflegefachkraft &\nKoch\nim Team")
    assert page.script("window.foreign") is None


def test_truncated_ad_shows_only_the_text_that_was_read(chromium, server):
    page = Page(chromium, server)
    page.classify("Koch für die Küche.\n" * 60 + "Software mit Python.\n" * 60, explain=True)
    page.wait("why")
    assert page["reading"].text.endswith(" …")
    assert "Python" not in page["reading"].text


def test_page_offers_no_explanation_if_switched_off(chromium, tiny_folder, tmp_path):
    log = tmp_path / "server.log"
    with running_server(tiny_folder, log, explain_concurrency="0") as address:
        page = Page(chromium, address)
        page.classify(AD)
        page.wait("answer")
        assert not page["explain"].is_displayed()
