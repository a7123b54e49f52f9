"""The try-it page, as a person uses it: headless Chromium against the real server."""

import ast
import inspect
import json
import os
import re
import shutil
import subprocess

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from app.checkpoint import save_checkpoint
from app.heads import Head
from app.model import TwoHeadClassifier
from tests.conftest import POSITIONS, tiny_encoder
from tests.faulty import BROKEN, HELD, text_of
from tests.serving import HTTP, faulty_server, running_server, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.server]

KEY = "a-key-of-good-length"
AD = "Koch für die Küche mit Speisen und Menüs im Restaurant"
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # a container's root cannot have one
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find(*names):
    """Return the first of these programs; without any, skip, or fail where CI insists."""
    for name in names:
        if path := shutil.which(name):
            return path
    message = f"the page is tested with {names[0]}, which is not installed"
    return pytest.fail(message) if os.environ.get("REQUIRE_BROWSER") else pytest.skip(message)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = find("chromium", "chromium-browser", "google-chrome")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # A driver that is named keeps selenium from looking for one online.
    browser = webdriver.Chrome(options=options, service=Service(find("chromedriver")))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def server(chromium, tiny_folder, tmp_path_factory):
    log = tmp_path_factory.mktemp("page") / "server.log"
    with running_server(tiny_folder, log, max_body_bytes="4096") as address:
        yield address


@pytest.fixture(scope="module")
def swayed(chromium, swayed_folder, tmp_path_factory):
    """A server whose answers hang on every sentence."""
    log = tmp_path_factory.mktemp("swayed") / "server.log"
    with running_server(swayed_folder, log) as address:
        yield address


class Page:
    """The page in the browser: what a person does, and what they see."""

    def __init__(self, browser, address, language="en", width=1200, scheme="light"):
        self.browser, self.address = browser, address
        agent = browser.execute_script("return navigator.userAgent")
        for command, arguments in {
            "Network.setUserAgentOverride": {"userAgent": agent, "acceptLanguage": language},
            "Emulation.setEmulatedMedia": {
                "features": [
                    {"name": "prefers-color-scheme", "value": scheme},
                    # Nothing moves, so that what is measured has its final size.
                    {"name": "prefers-reduced-motion", "value": "reduce"},
                ]
            },
            "Emulation.setDeviceMetricsOverride": {
                "width": width,
                "height": 800,
                "deviceScaleFactor": 1,
                "mobile": width < 500,
            },
        }.items():
            browser.execute_cdp_cmd(command, arguments)
        for log in ("browser", "performance"):
            browser.get_log(log)  # what earlier tests left
        browser.get(address)

    def __getitem__(self, element):
        return self.browser.find_element(By.ID, element)

    def all(self, selector):
        return [part.text for part in self.browser.find_elements(By.CSS_SELECTOR, selector)]

    def wait(self, element):
        """Wait until an element shows and nothing is under way; return its text."""
        WebDriverWait(self.browser, 20).until(
            lambda _: (
                self[element].is_displayed()
                and self["result"].get_dom_attribute("aria-busy") != "true"
            )
        )
        return self[element].text

    def classify(self, text, explain=False):
        # As a paste does it: at once, not key by key.
        self.browser.execute_script("arguments[0].value = arguments[1]", self["text"], text)
        if explain:
            self["explain"].click()
        self["send"].click()

    def example(self, name):
        self.browser.find_element(By.CSS_SELECTOR, f"[data-example={name}]").click()

    def choose(self, name, value):
        """Choose one of some radio buttons, as a person does: by what is written on it."""
        button = self.browser.find_element(By.CSS_SELECTOR, f"input[name={name}][value={value}]")
        button.find_element(By.XPATH, "..").click()

    def code(self, kind):
        self.choose("kind", kind)
        return self["code"].get_property("textContent")

    def press(self, *keys):
        self.browser.switch_to.active_element.send_keys(*keys)

    def widest(self):
        return self.script("document.documentElement.scrollWidth")

    def script(self, expression):
        return self.browser.execute_script(f"return {expression}")

    def console(self):
        return [entry["message"] for entry in self.browser.get_log("browser")]

    def requested(self):
        """List every address the page asked for since it was opened."""
        events = [
            json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")
        ]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]


def test_a_pasted_ad_is_answered_by_both_heads(chromium, server):
    page = Page(chromium, server)
    page.classify(AD)
    page.wait("answer")
    assert page.all(".head h2") == ["Job category", "Minimum education"]
    assert len(page.all(".bars li")) == 6
    shares = [float(share.rstrip("%")) for share in page.all(".percent")]
    assert sum(shares[:3]) == pytest.approx(100, abs=0.2)
    assert shares[:3] == sorted(shares[:3], reverse=True)
    # Each bar is as long as its share.
    assert page.script(
        "[...document.querySelectorAll('.bar')].map(bar =>"
        " 100 * bar.offsetWidth / bar.parentElement.offsetWidth)"
    ) == pytest.approx(shares, abs=1)
    assert "in 1 window, the whole ad" in page["facts"].text
    assert re.search(r"\d ms \(tokens [\d.]+, waiting [\d.]+, model [\d.]+\)", page["facts"].text)
    answer = json.loads(page.code("json"))
    assert answer["truncated"] is False
    assert f"tiny, revision {answer['model']['revision']}" in page["facts"].text
    assert f"tiny · {answer['model']['revision']} · cpu" == page["model"].text
    assert not page["why"].is_displayed()
    assert page.console() == []


def test_as_many_labels_are_shown_as_were_asked_for(chromium, server):
    page = Page(chromium, server)
    Select(page["top"]).select_by_visible_text("1")
    page.classify(AD)
    page.wait("answer")
    assert len(page.all(".bars li")) == 2


def test_the_page_asks_its_own_server_only(chromium, server):
    page = Page(chromium, server)
    page.classify(AD)
    page.wait("answer")
    requested = page.requested()
    assert f"{server}/classify" in requested
    assert [url for url in requested if not url.startswith(f"{server}/")] == []


def test_the_documentation_shows_every_route_under_its_policy(chromium, server):
    page = Page(chromium, f"{server}/docs")
    WebDriverWait(chromium, 30).until(lambda _: len(page.all(".opblock-summary-path")) >= 7)
    assert page.console() == []
    assert [url for url in page.requested() if not url.startswith((f"{server}/", "data:"))] == []


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_script_that_was_put_in_does_not_run(chromium, server, path):
    page = Page(chromium, f"{server}{path}")
    chromium.execute_script(
        "const script = document.createElement('script');"
        "script.textContent = 'window.foreign = 1';"
        "document.body.append(script);"
    )
    WebDriverWait(chromium, 20).until(lambda _: "Content Security Policy" in str(page.console()))
    assert page.script("window.foreign") is None


def test_the_keyboard_is_enough(chromium, server):
    page = Page(chromium, server)
    page["text"].send_keys(AD, Keys.CONTROL, Keys.ENTER)
    page.wait("answer")
    assert page.script("document.activeElement.id") == "text"


FOCUSED = "document.activeElement.id || document.activeElement.textContent.trim()"


def test_the_keyboard_reaches_everything_in_reading_order(chromium, server):
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
        assert page.script(SEEN), order[-1]
    head = next(one for one in order if one.startswith("why-"))
    assert order == [
        "language-en", "title", "Pflege", "Bäckerei", "Elektrik, HTML", "Data analyst", "text",
        "format-html", "top", "explain", "send", head, "reading", "kind-curl", "copy", "code",
        "API reference", "Model", "Metrics",
    ]  # fmt: skip


# Whether the element in focus, or what stands for it, has an outline that shows.
SEEN = """(() => {
  const one = document.activeElement;
  const shown = one.type === "radio" ? one.nextElementSibling : one;
  const style = getComputedStyle(shown);
  return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1;
})()"""


def test_a_screen_reader_is_told_the_outcome(chromium, server):
    page = Page(chromium, server)
    assert page["status"].get_dom_attribute("role") == "status"
    page.classify(AD)
    page.wait("answer")
    label, *_ = page.all(".name")
    said = page["status"].get_property("textContent")
    assert said.startswith(f"Job category: {label}, ")
    assert "Minimum education: " in said
    page.classify(" ")
    said = page["status"].get_property("textContent")
    assert said.startswith("There is no ad yet. Paste its text first.")
    # Each control has a name.
    names = page.script(
        "[...document.querySelectorAll('input, select, textarea, button')].map(one =>"
        " one.labels?.[0]?.textContent.trim() || one.textContent.trim())"
    )
    assert all(names), names


def test_an_example_is_filled_in_and_a_cut_is_said(chromium, server):
    page = Page(chromium, server)
    for example in ("analyst", "bakery", "nurse"):
        page.example(example)
        assert len(page["text"].get_property("value")) > 400
    assert "Pflegefachkraft" in page["title"].get_property("value")
    page["send"].click()
    page.wait("answer")
    # The tests' checkpoint reads four windows of 64 tokens.
    assert page["cut"].is_displayed()
    assert "in 4 windows, cut" in page["facts"].text


def test_names_and_words_follow_the_readers_language(chromium, server):
    page = Page(chromium, server, language="de-DE")
    page.classify(AD)
    page.wait("answer")
    assert page.all(".head h2") == ["Berufsbereich", "Mindestabschluss"]
    names = page.all(".name")
    assert set(names[:3]) == {"Pflege", "Küche", "Software"}
    # This head has no German names, so its labels stand in for them.
    assert set(names[3:]) == {"none", "vocational", "master"}
    assert page["send"].text == "Einordnen"
    assert page.script("document.documentElement.lang") == "de"


def test_an_example_in_html_is_read_as_html(chromium, server):
    page = Page(chromium, server)
    page.example("electrician")
    page["send"].click()
    page.wait("answer")
    assert '"format": "html"' in page.code("curl")
    page.choose("format", "text")
    page["send"].click()
    WebDriverWait(chromium, 20).until(lambda _: '"format"' not in page.code("curl"))


def test_the_language_changes_with_what_is_shown_already(chromium, server):
    page = Page(chromium, server)
    page.classify(AD)
    page.wait("answer")
    page.choose("language", "de")
    assert page.all(".head h2") == ["Berufsbereich", "Mindestabschluss"]
    assert set(page.all(".name")[:3]) == {"Pflege", "Küche", "Software"}
    assert page["send"].text == "Einordnen"
    assert "die ganze Anzeige" in page["facts"].text
    assert page["text"].get_dom_attribute("placeholder") == "Text der Anzeige hier einfügen"
    page.choose("language", "en")
    assert page["send"].text == "Classify"
    assert set(page.all(".name")[:3]) == {"nursing", "cooking", "software"}
    assert page["text"].get_dom_attribute("placeholder").startswith("Paste")
    page.classify(" ")
    page.choose("language", "de")
    assert page["error"].text.startswith("Noch keine Anzeige")


def parts(page):
    """Return the marked parts: text, direction, level, number that is shown, words for it."""
    return page.script(
        "[...document.querySelectorAll('#reading mark')].map(mark => [mark.firstChild.data,"
        " mark.className, Number(mark.dataset.level), mark.querySelector('.points').textContent,"
        " mark.querySelector('.spoken').textContent.trim()])"
    )


def expected_parts(answer, head, text):
    """Say what `parts` should be for a head."""
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
    # Not by colour alone: lines differ in thickness, and those against are dashed.
    assert page.script(
        "[...document.querySelectorAll('#legend mark')].map(mark => {"
        " const style = getComputedStyle(mark);"
        " return `${style.borderBottomWidth} ${style.borderBottomStyle}`; })"
    ) == ["1px solid", "2px solid", "4px solid", "2px dashed"]


def test_the_title_is_marked_without_its_markup(chromium, server):
    page = Page(chromium, server)
    page["title"].send_keys("<b>Pflegefachkraft</b> &amp; <script>window.foreign = 1</script>Koch")
    page.choose("format", "html")
    page.classify("<p>im Team</p>", explain=True)
    page.wait("why")
    assert page["reading"].text.startswith("Pflegefachkraft &\nKoch\nim Team")
    assert page.script("window.foreign") is None


def test_a_cut_ad_shows_what_was_read_of_it(chromium, server):
    page = Page(chromium, server)
    page.classify("Koch für die Küche.\n" * 60 + "Software mit Python.\n" * 60, explain=True)
    page.wait("why")
    assert page["reading"].text.endswith(" …")
    assert "Python" not in page["reading"].text


def test_the_requests_to_copy_do_what_the_page_did(chromium, server):
    page = Page(chromium, server)
    page["title"].send_keys('Koch\'s "Küche" $HOME `id` \\')
    page.choose("format", "html")
    page.classify("<p>Koch f&uuml;r die Küche\n'; exit 1; '</p>", explain=True)
    page.wait("answer")
    answer = json.loads(page.code("json"))
    done = subprocess.run(
        ["bash", "-c", page.code("curl").replace("curl ", "curl -s ", 1)],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    assert json.loads(done.stdout) == answer
    tree = ast.parse(page.code("python"))
    (call,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "client.classify"
    ]
    body = {one.arg: ast.literal_eval(one.value) for one in call.keywords}
    body["text"] = ast.literal_eval(call.args[0])
    assert HTTP.post(f"{server}/classify", json=body).json() == answer
    client = pytest.importorskip("app.client", reason="there is no app.client yet")
    taken = inspect.signature(client.DoppelkopfClient.classify).parameters
    assert body.keys() <= taken.keys()


@pytest.mark.parametrize("permitted", [True, False])
def test_a_request_is_copied_without_clipboard_permission_too(chromium, server, permitted):
    page = Page(chromium, server)
    page.classify(AD)
    page.wait("answer")
    grant = "clipboard-write" if permitted else "notifications"
    if not permitted:
        chromium.execute_script("navigator.clipboard.writeText = () => Promise.reject()")
    chromium.execute_cdp_cmd(
        "Browser.setPermission",
        {"permission": {"name": grant}, "setting": "granted", "origin": server},
    )
    code = page.code("python")
    page["copy"].click()
    WebDriverWait(chromium, 20).until(lambda _: page["copied"].text == "Copied")
    page["text"].clear()
    page["text"].send_keys(Keys.CONTROL, "v")
    assert page["text"].get_property("value") == code


def test_texts_of_ads_and_checkpoints_never_become_markup(chromium, tokenizer_files, tmp_path):
    evil = "<img src=x onerror='window.foreign=1'><script>window.foreign=1</script>"
    head = Head(labels=(evil, "b"), names={"de": (f"{evil} de", "b"), "en": (evil, "<b>c</b>")})
    heads = {"job_category": head, "min_education": head}
    model = TwoHeadClassifier.from_encoder(tiny_encoder(), heads, max_length=POSITIONS)
    folder = tmp_path / "evil"
    save_checkpoint(folder, model, tokenizer_files, {"note": "untrained"}, "# evil\n")
    with running_server(folder, tmp_path / "server.log") as address:
        page = Page(chromium, address)
        page.choose("format", "text")
        page["title"].send_keys(evil)
        page.classify(f"{evil}. Koch", explain=True)
        page.wait("why")
        for language in ("de", "en"):
            page.choose("language", language)
            assert any("<img" in name for name in page.all(".name"))
        assert page["reading"].get_property("textContent").count("<script>") == 2
        assert page.script("document.querySelectorAll('main img, main script, main b').length") == 0
        assert page.script("window.foreign") is None
        assert page.console() == []


def test_without_explanations_the_page_offers_none(chromium, tiny_folder, tmp_path):
    log = tmp_path / "server.log"
    with running_server(tiny_folder, log, explain_concurrency="0") as address:
        page = Page(chromium, address)
        page.classify(AD)
        page.wait("answer")
        assert not page["explain"].is_displayed()


def test_failures_and_overload_are_explained_in_both_languages(chromium, tiny_folder, tmp_path):
    with faulty_server(tiny_folder, tmp_path, max_queued_ads="1", max_batch_ads="1") as server:
        page = Page(chromium, server.address)
        page.classify(text_of(BROKEN))
        assert page.wait("error").startswith("The model failed on this ad\nTry again")
        held = server.pool.submit(server.send, HELD)
        wait_until(lambda: server.metric("queued_ads") == 1, seconds=20)
        page.classify(AD)
        WebDriverWait(chromium, 20).until(lambda _: "busy" in page["error"].text)
        assert re.search(r"Try again in \d+ s\.", page["error-advice"].text)
        page.choose("language", "de")
        assert re.match(
            r"Der Dienst ist ausgelastet\nBitte in \d+ s noch einmal", page["error"].text
        )
        server.open()
        assert held.result().status_code == 200


def test_errors_are_explained_and_replaced_by_an_answer(chromium, server):
    page = Page(chromium, server)
    page.classify("   ")
    assert page.wait("error").startswith("There is no ad yet")
    page.classify("Küche " * 800)
    error = page.wait("error")
    assert error.startswith("The ad is too large\nShorten it")
    assert "The body is larger than 4096 bytes" in error
    assert "Request " in error
    page.classify(AD)
    page.wait("answer")
    assert not page["error"].is_displayed()


def test_an_unreachable_service_is_said_in_words(chromium, server):
    page = Page(chromium, server)
    page.browser.execute_cdp_cmd("Network.enable", {})
    page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/classify"]})
    try:
        page.classify(AD)
        assert page.wait("error").startswith("The service cannot be reached")
    finally:
        page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})


@pytest.mark.parametrize("width", [320, 360])
def test_a_phone_never_scrolls_sideways(chromium, server, width):
    page = Page(chromium, server, language="de-DE", width=width)
    assert page.widest() == width
    page.example("electrician")
    page["explain"].click()
    page["send"].click()
    page.wait("why")
    for kind in ("curl", "python", "json"):
        page.choose("kind", kind)
        assert page.widest() == width
    page["title"].clear()
    page.classify("W" * 3000)
    page.wait("answer")
    WebDriverWait(chromium, 20).until(lambda _: "W" * 100 in page.code("curl"))
    assert page.widest() == width
    page.classify("Küche " * 800)
    page.wait("error")
    assert page.widest() == width


def test_the_page_is_dark_where_the_reader_likes_it_dark(chromium, server):
    ground = "getComputedStyle(document.body).backgroundColor"
    light = Page(chromium, server).script(ground)
    assert Page(chromium, server, scheme="dark").script(ground) != light


# Each shown text's contrast with what is painted behind it, as WCAG 2.2 has it (1.4.3).
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
def test_every_text_stands_out_from_its_ground(chromium, swayed, scheme):
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


def test_a_key_is_asked_for_where_the_server_has_one(chromium, tiny_folder, tmp_path):
    with running_server(tiny_folder, tmp_path / "server.log", api_keys=KEY) as address:
        page = Page(chromium, address)
        assert page.wait("error").startswith("This service asks for a key\nEnter it")
        assert page["key"].get_dom_attribute("type") == "password"
        page["key"].send_keys("wrong")
        page.classify(AD)
        WebDriverWait(chromium, 20).until(lambda _: "not accept" in page["error"].text)
        page["key"].clear()
        page["key"].send_keys(KEY, Keys.ENTER)
        page.wait("answer")
        for kind in ("curl", "python"):
            assert KEY not in page.code(kind)
            assert "DOPPELKOPF_API_KEY" in page.code(kind)
        assert page.script("localStorage.length + sessionStorage.length") == 0
        assert page.script("document.cookie") == ""
