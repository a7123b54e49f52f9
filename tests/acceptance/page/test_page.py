"""The try-it page in headless Chromium, from a real server."""

import ast
import inspect
import json
import re
import subprocess

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.support.browser import Page
from tests.support.server_process import HTTP

pytestmark = [pytest.mark.browser, pytest.mark.server]

AD = "Koch für die Küche mit Speisen und Menüs im Restaurant"


def test_pasted_ad_gets_predictions_of_both_heads(chromium, server):
    page = Page(chromium, server)
    page.classify(AD)
    page.wait("answer")
    assert page.texts(".head h2") == ["Job category", "Minimum education"]
    assert len(page.texts(".bars li")) == 6
    shares = [float(share.rstrip("%")) for share in page.texts(".percent")]
    assert sum(shares[:3]) == pytest.approx(100, abs=0.2)
    assert shares[:3] == sorted(shares[:3], reverse=True)
    # The length of each bar is its percentage.
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
    assert page.console_messages() == []


def test_page_shows_the_chosen_number_of_labels(chromium, server):
    page = Page(chromium, server)
    Select(page["top"]).select_by_visible_text("1")
    page.classify(AD)
    page.wait("answer")
    assert len(page.texts(".bars li")) == 2


def test_examples_are_filled_in_and_truncation_is_reported(chromium, server):
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


def test_page_follows_the_language_of_the_browser(chromium, server):
    page = Page(chromium, server, language="de-DE")
    page.classify(AD)
    page.wait("answer")
    assert page.texts(".head h2") == ["Berufsbereich", "Mindestabschluss"]
    names = page.texts(".name")
    assert set(names[:3]) == {"Pflege", "Küche", "Software"}
    # This head has no German names, so its labels are shown.
    assert set(names[3:]) == {"none", "vocational", "master"}
    assert page["send"].text == "Einordnen"
    assert page.script("document.documentElement.lang") == "de"


def test_html_example_is_sent_as_html(chromium, server):
    page = Page(chromium, server)
    page.example("electrician")
    page["send"].click()
    page.wait("answer")
    assert '"format": "html"' in page.code("curl")
    page.choose("format", "text")
    page["send"].click()
    WebDriverWait(chromium, 20).until(lambda _: '"format"' not in page.code("curl"))


def test_changing_the_language_translates_the_answer_shown(chromium, server):
    page = Page(chromium, server)
    page.classify(AD)
    page.wait("answer")
    page.choose("language", "de")
    assert page.texts(".head h2") == ["Berufsbereich", "Mindestabschluss"]
    assert set(page.texts(".name")[:3]) == {"Pflege", "Küche", "Software"}
    assert page["send"].text == "Einordnen"
    assert "die ganze Anzeige" in page["facts"].text
    assert page["text"].get_dom_attribute("placeholder") == "Text der Anzeige hier einfügen"
    page.choose("language", "en")
    assert page["send"].text == "Classify"
    assert set(page.texts(".name")[:3]) == {"nursing", "cooking", "software"}
    assert page["text"].get_dom_attribute("placeholder").startswith("Paste")
    page.classify(" ")
    page.choose("language", "de")
    assert page["error"].text.startswith("Noch keine Anzeige")


def test_copied_requests_give_the_answer_of_the_page(chromium, server):
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
def test_request_is_copied_with_and_without_clipboard_permission(chromium, server, permitted):
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
