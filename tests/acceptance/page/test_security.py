"""The page under its content security policy: nothing foreign is loaded or run."""

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
def test_an_injected_script_does_not_run(chromium, server, path):
    page = Page(chromium, f"{server}{path}")
    chromium.execute_script(
        "const script = document.createElement('script');"
        "script.textContent = 'window.foreign = 1';"
        "document.body.append(script);"
    )
    WebDriverWait(chromium, 20).until(lambda _: "Content Security Policy" in str(page.console()))
    assert page.script("window.foreign") is None


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
