"""The page with a keyboard, a screen reader, a phone, and in both colour schemes."""

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.browser import Page

pytestmark = [pytest.mark.browser, pytest.mark.server]

AD = "Koch für die Küche mit Speisen und Menüs im Restaurant"


def test_control_enter_sends_the_ad(chromium, server):
    page = Page(chromium, server)
    page["text"].send_keys(AD, Keys.CONTROL, Keys.ENTER)
    page.wait("answer")
    assert page.script("document.activeElement.id") == "text"


FOCUSED = "document.activeElement.id || document.activeElement.textContent.trim()"


def test_tab_reaches_every_control_in_reading_order(chromium, server):
    page = Page(chromium, server)
    page.example("electrician")
    page["explain"].send_keys(Keys.SPACE)
    page["send"].send_keys(Keys.ENTER)
    page.wait("why")
    page.script("document.activeElement.blur(), scrollTo(0, 0)")
    chromium.execute_cdp_cmd("Runtime.evaluate", {"expression": "document.body.focus()"})
    page["language-en"].send_keys("")
    order = [page.script(FOCUSED)]
    while order[-1] != "Metrics":
        page.press(Keys.TAB)
        order.append(page.script(FOCUSED))
        assert page.script(OUTLINED), order[-1]
    head = next(one for one in order if one.startswith("why-"))
    assert order == [
        "language-en", "title", "Pflege", "Bäckerei", "Elektrik, HTML", "Data analyst", "text",
        "format-html", "top", "explain", "send", head, "reading", "kind-curl", "copy", "code",
        "API reference", "Model", "Metrics",
    ]  # fmt: skip


# Whether the focused element, or the label of a focused radio button, has a visible outline.
OUTLINED = """(() => {
  const one = document.activeElement;
  const shown = one.type === "radio" ? one.nextElementSibling : one;
  const style = getComputedStyle(shown);
  return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
})()"""


def test_screen_reader_announces_answers_and_errors(chromium, server):
    page = Page(chromium, server)
    assert page["status"].get_dom_attribute("role") == "status"
    page.classify(AD)
    page.wait("answer")
    label, *_ = page.texts(".name")
    announced = page["status"].get_property("textContent")
    assert announced.startswith(f"Job category: {label}, ")
    assert "Minimum education: " in announced
    page.classify(" ")
    announced = page["status"].get_property("textContent")
    assert announced.startswith("There is no ad yet. Paste its text first.")
    # Each control has an accessible name.
    names = page.script(
        "[...document.querySelectorAll('input, select, textarea, button')].map(one =>"
        " one.labels?.[0]?.textContent.trim() || one.textContent.trim())"
    )
    assert all(names), names


@pytest.mark.parametrize("width", [320, 360])
def test_phone_never_scrolls_sideways(chromium, server, width):
    page = Page(chromium, server, language="de-DE", width=width)
    assert page.content_width() == width
    page.example("electrician")
    page["explain"].click()
    page["send"].click()
    page.wait("why")
    for kind in ("curl", "python", "json"):
        page.choose("kind", kind)
        assert page.content_width() == width
    page["title"].clear()
    page.classify("W" * 3000)
    page.wait("answer")
    WebDriverWait(chromium, 20).until(lambda _: "W" * 100 in page.code("curl"))
    assert page.content_width() == width
    page.classify("Küche " * 800)
    page.wait("error")
    assert page.content_width() == width


def test_page_follows_the_dark_color_scheme(chromium, server):
    ground = "getComputedStyle(document.body).backgroundColor"
    light = Page(chromium, server).script(ground)
    assert Page(chromium, server, scheme="dark").script(ground) != light


# The contrast of each visible text with its background, by WCAG 2.2 (1.4.3).
CONTRASTS = """(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const paint = (color) => { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); };
  const light = () => {
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(value => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const part of document.querySelectorAll("body *")) {
    const own = [...part.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!own || !part.checkVisibility() || part.matches(".spoken, option, .spoken *")) continue;
    const above = [];
    for (let one = part; one; one = one.parentElement) above.unshift(one);
    paint("white");
    for (const one of above) paint(getComputedStyle(one).backgroundColor);
    const ground = light();
    paint(getComputedStyle(part).color);
    const [dark, bright] = [ground, light()].sort((a, b) => a - b);
    found.push([(bright + 0.05) / (dark + 0.05), part.textContent.trim().slice(0, 40)]);
  }
  return found;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(chromium, swayed, scheme):
    page = Page(chromium, swayed, scheme=scheme)
    page.classify("Koch für die Küche. Studium mit Master! Ausbildung im Beruf", explain=True)
    page.wait("why")
    page["copy"].click()
    seen = page.script(CONTRASTS)
    page.classify(" ")
    page.wait("error")
    seen += page.script(CONTRASTS)
    assert len(seen) > 60
    assert [text for contrast, text in seen if contrast < 4.5] == []
