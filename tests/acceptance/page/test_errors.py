"""Error messages of the page."""

import re

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.browser import Page
from tests.support.faulty_engine import BROKEN, HELD, text_of_tokens
from tests.support.faulty_server import faulty_server
from tests.support.polling import wait_until
from tests.support.server_process import running_server

pytestmark = [pytest.mark.browser, pytest.mark.server]

AD = "Koch für die Küche mit Speisen und Menüs im Restaurant"


KEY = "a-key-of-good-length"


def test_failures_and_overload_are_explained_in_both_languages(chromium, tiny_folder, tmp_path):
    with faulty_server(tiny_folder, tmp_path, max_queued_ads="1", max_batch_ads="1") as server:
        page = Page(chromium, server.address)
        page.classify(text_of_tokens(BROKEN))
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
        server.release()
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


def test_unreachable_service_is_explained(chromium, server):
    page = Page(chromium, server)
    page.browser.execute_cdp_cmd("Network.enable", {})
    page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/classify"]})
    try:
        page.classify(AD)
        assert page.wait("error").startswith("The service cannot be reached")
    finally:
        page.browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})


def test_page_requests_the_key_of_a_protected_server(chromium, tiny_folder, tmp_path):
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
