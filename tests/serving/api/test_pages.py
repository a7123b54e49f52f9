import re

import pytest

from tests.support.application import InProcessApp

AD = {"text": "Koch für die Küche im Restaurant"}


@pytest.fixture(scope="module")
def app(checkpoint):
    return InProcessApp(checkpoint, settings={"max_batch_ads": 8, "max_body_bytes": 4096})


@pytest.fixture(scope="module")
def client(app):
    with app.client() as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/page/page.js", "/docs", "/docs/swagger-ui-bundle.js"])
def test_pages_forbid_everything_from_outside(client, path):
    headers = client.get(path).headers
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["connect-src"] == "'self'"
    # Neither inline nor evaluated, nor from anywhere else; the documentation's one by its digest.
    assert re.fullmatch(r"'self'( 'sha256-[\w+/]{43}=')?", policy["script-src"])
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "geolocation=()" in headers["permissions-policy"]
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_every_answer_forbids_content_sniffing(client):
    for path in ("/model", "/metrics", "/nowhere", "/openapi.json"):
        assert client.get(path).headers["x-content-type-options"] == "nosniff", path


def test_the_documentation_page_loads_nothing_from_outside(client):
    page = client.get("/docs").text
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert addresses
    for address in [*addresses, "openapi.json"]:
        assert client.get(f"/{address}").status_code == 200, address
