"""The try-it page, as a person uses it: headless Chromium against the real server."""

import json
import os
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.serving import running_server

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

    def classify(self, text):
        # As a paste does it: at once, not key by key.
        self.browser.execute_script("arguments[0].value = arguments[1]", self["text"], text)
        self["send"].click()

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
    assert "tiny" in page["model"].text
    assert json.loads(page["json"].get_property("textContent"))["truncated"] is False
    assert page.console() == []


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
    assert page["result"].get_dom_attribute("aria-live") == "polite"


def test_an_example_is_filled_in_and_a_cut_is_said(chromium, server):
    page = Page(chromium, server)
    for example in ("bakery", "nurse"):
        chromium.find_element(By.CSS_SELECTOR, f"[data-example={example}]").click()
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


def test_errors_are_said_in_words_and_an_answer_takes_their_place(chromium, server):
    page = Page(chromium, server)
    page.classify("   ")
    assert page.wait("error").startswith("There is no ad yet")
    page.classify("Küche " * 800)
    error = page.wait("error")
    assert error.startswith("The ad is too large\nThe body is larger than 4096 bytes")
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


@pytest.mark.parametrize("width", [320, 375])
def test_a_phone_never_scrolls_sideways(chromium, server, width):
    page = Page(chromium, server, language="de-DE", width=width)
    assert page.script("document.documentElement.scrollWidth") == width
    chromium.find_element(By.CSS_SELECTOR, "[data-example=nurse]").click()
    page["send"].click()
    page.wait("answer")
    page["answer"].find_element(By.TAG_NAME, "summary").click()
    assert page.script("document.documentElement.scrollWidth") == width


def test_the_page_is_dark_where_the_reader_likes_it_dark(chromium, server):
    ground = "getComputedStyle(document.body).backgroundColor"
    light = Page(chromium, server).script(ground)
    assert Page(chromium, server, scheme="dark").script(ground) != light


def test_a_key_is_asked_for_where_the_server_has_one(chromium, tiny_folder, tmp_path):
    with running_server(tiny_folder, tmp_path / "server.log", api_keys=KEY) as address:
        page = Page(chromium, address)
        assert page.wait("error").startswith("This service asks for a key")
        page["key"].send_keys("wrong")
        page.classify(AD)
        WebDriverWait(chromium, 20).until(lambda _: "not accept" in page["error"].text)
        page["key"].clear()
        page["key"].send_keys(KEY, Keys.ENTER)
        page.wait("answer")
        assert page.script("localStorage.length + sessionStorage.length") == 0
        assert page.script("document.cookie") == ""
