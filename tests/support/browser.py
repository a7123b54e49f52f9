"""Headless Chromium, and the try-it page in it."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # does not work for root in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_program(*names):
    """Return the first installed of these programs.

    Without any, the test is skipped, or fails if REQUIRE_BROWSER is set.
    """
    for name in names:
        if path := shutil.which(name):
            return path
    message = f"the page is tested with {names[0]}, which is not installed"
    return pytest.fail(message) if os.environ.get("REQUIRE_BROWSER") else pytest.skip(message)


@contextmanager
def running_chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """Run a browser with an empty profile while the context is open."""
    options = webdriver.ChromeOptions()
    options.binary_location = find_program("chromium", "chromium-browser", "google-chrome")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # Without a path, selenium would look for a driver online.
    browser = webdriver.Chrome(options=options, service=Service(find_program("chromedriver")))
    try:
        yield browser
    finally:
        browser.quit()


class Page:
    """The page in the browser; its methods do what a user does and return what a user sees.

    Args:
        browser: the WebDriver.
        address: of the page.
        language: of the browser.
        width: of the window in pixels; below 500 it is a phone.
        scheme: the preferred colours, "light" or "dark".
    """

    def __init__(self, browser, address, language="en", width=1200, scheme="light"):
        self.browser, self.address = browser, address
        agent = browser.execute_script("return navigator.userAgent")
        for command, arguments in {
            "Network.setUserAgentOverride": {"userAgent": agent, "acceptLanguage": language},
            "Emulation.setEmulatedMedia": {
                "features": [
                    {"name": "prefers-color-scheme", "value": scheme},
                    # Without animations, so that sizes are final when they are measured.
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
            browser.get_log(log)  # discards the entries of earlier tests
        browser.get(address)

    def __getitem__(self, element):
        """Return the element with this id."""
        return self.browser.find_element(By.ID, element)

    def texts(self, selector):
        """Return the texts of all elements that match a CSS selector."""
        return [part.text for part in self.browser.find_elements(By.CSS_SELECTOR, selector)]

    def wait(self, element):
        """Wait until an element is visible and no request is running; return its text."""
        WebDriverWait(self.browser, 20).until(
            lambda _: (
                self[element].is_displayed()
                and self["result"].get_dom_attribute("aria-busy") != "true"
            )
        )
        return self[element].text

    def classify(self, text, explain=False):
        # All at once, like pasting.
        self.browser.execute_script("arguments[0].value = arguments[1]", self["text"], text)
        if explain:
            self["explain"].click()
        self["send"].click()

    def example(self, name):
        """Press the button that fills in an example."""
        self.browser.find_element(By.CSS_SELECTOR, f"[data-example={name}]").click()

    def choose(self, name, value):
        """Choose a radio button by clicking its label."""
        button = self.browser.find_element(By.CSS_SELECTOR, f"input[name={name}][value={value}]")
        button.find_element(By.XPATH, "..").click()

    def code(self, kind):
        """Return the request to copy in a language, or the answer for "json"."""
        self.choose("kind", kind)
        return self["code"].get_property("textContent")

    def press(self, *keys):
        self.browser.switch_to.active_element.send_keys(*keys)

    def content_width(self):
        """Return the width of the content in pixels."""
        return self.script("document.documentElement.scrollWidth")

    def script(self, expression):
        """Evaluate a JavaScript expression."""
        return self.browser.execute_script(f"return {expression}")

    def console_messages(self):
        """Return the browser's messages since the last call."""
        return [entry["message"] for entry in self.browser.get_log("browser")]

    def requested_urls(self):
        """Return the URLs of all requests since the page was opened."""
        events = [
            json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")
        ]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
