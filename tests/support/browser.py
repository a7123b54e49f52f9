"""Headless Chromium, and the try-it page as a person uses it."""

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
    "--no-sandbox",  # a container's root cannot have one
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_program(*names):
    """Return the first of these programs; without any, skip, or fail where CI insists."""
    for name in names:
        if path := shutil.which(name):
            return path
    message = f"the page is tested with {names[0]}, which is not installed"
    return pytest.fail(message) if os.environ.get("REQUIRE_BROWSER") else pytest.skip(message)


@contextmanager
def running_chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """Start a browser with an empty profile; end it."""
    options = webdriver.ChromeOptions()
    options.binary_location = find_program("chromium", "chromium-browser", "google-chrome")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # A driver that is named keeps selenium from looking for one online.
    browser = webdriver.Chrome(options=options, service=Service(find_program("chromedriver")))
    try:
        yield browser
    finally:
        browser.quit()


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
