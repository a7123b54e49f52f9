"""The content security policy: the page loads and runs only files of its own server."""

import pytest
from selenium.webdriver.support.ui import WebDriverWait

from app.core.head_labels import Head
from app.model.checkpoint import save_checkpoint
from app.model.classifier import TwoHeadClassifier
from tests.conftest import POSITIONS, tiny_encoder
from tests.support.browser import Page
from tests.support.server_process import running_server

pytestmark = [pytest.mark.browser, pytest.mark.server]

AD = "Koch für die Küche mit Speisen und Menüs im Restaurant"


def test_page_sends_requests_only_to_its_server(chromium, server):
    page = Page(chromium, server)
    page.classify(AD)
    page.wait("answer")
    requested = page.requested_urls()
    assert f"{server}/classify" in requested
    assert [url for url in requested if not url.startswith(f"{server}/")] == []


def test_documentation_works_under_its_policy(chromium, server):
    page = Page(chromium, f"{server}/docs")
    WebDriverWait(chromium, 30).until(lambda _: len(page.texts(".opblock-summary-path")) >= 7)
    assert page.console_messages() == []
    assert [
        url for url in page.requested_urls() if not url.startswith((f"{server}/", "data:"))
    ] == []


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_injected_script_does_not_run(chromium, server, path):
    page = Page(chromium, f"{server}{path}")
    chromium.execute_script(
        "const script = document.createElement('script');"
        "script.textContent = 'window.foreign = 1';"
        "document.body.append(script);"
    )
    WebDriverWait(chromium, 20).until(
        lambda _: "Content Security Policy" in str(page.console_messages())
    )
    assert page.script("window.foreign") is None


def test_text_of_ads_and_labels_never_becomes_markup(chromium, tokenizer_files, tmp_path):
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
            assert any("<img" in name for name in page.texts(".name"))
        assert page["reading"].get_property("textContent").count("<script>") == 2
        assert page.script("document.querySelectorAll('main img, main script, main b').length") == 0
        assert page.script("window.foreign") is None
        assert page.console_messages() == []
