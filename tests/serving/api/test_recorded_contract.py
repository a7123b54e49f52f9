"""The OpenAPI document and the metric names, compared byte for byte with recorded files.

Clients are generated from the one, dashboards and alerts are written against the other. Where a
change is intended, run `UPDATE_RECORDED=1 python -m pytest` on this file and review the difference.
"""

import json
import os
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.application import InProcessApp

FOLDER = Path(__file__).parent
OPENAPI = FOLDER / "openapi.json"
METRIC_NAMES = FOLDER.parent / "metric_names.txt"
KEYS = {"api_keys": "a-key-of-good-length", "admin_keys": "an-operators-own-key"}


def assert_recorded(file: Path, text: str) -> None:
    if os.environ.get("UPDATE_RECORDED"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), f"{file.name} differs from what was recorded"


@pytest.fixture(scope="module")
def app(checkpoint):
    """An application with every route there is."""
    return InProcessApp(checkpoint, run=lambda _: [], settings=KEYS)


def test_the_openapi_document_is_the_recorded_one(app):
    document = app.app.openapi()
    # Neither keys nor names are sorted: their order is a part of what is sent.
    assert_recorded(OPENAPI, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


@pytest.mark.parametrize(
    "settings",
    [{}, {"api_keys": KEYS["api_keys"], "metrics_access": "key", "docs_access": "key"}],
    ids=["without keys", "all behind a key"],
)
def test_settings_leave_out_routes_and_change_none(checkpoint, settings):
    """But for `/metrics`, which may need a key."""
    served = InProcessApp(checkpoint, run=lambda _: [], settings=settings).app.openapi()
    recorded = json.loads(OPENAPI.read_text(encoding="utf-8"))
    assert set(served["paths"]) == set(recorded["paths"]) - {"/admin/model"}
    for path in set(served["paths"]) - {"/metrics"}:
        assert served["paths"][path] == recorded["paths"][path], path
    for name, schema in served["components"]["schemas"].items():
        assert schema == recorded["components"]["schemas"][name], name


def test_the_metrics_of_a_fresh_application_are_the_recorded_ones(app):
    """Each line holds a name, its type, and the names of its labels."""
    with app.client() as client:
        exposed = client.get(
            "/metrics", headers={"Authorization": f"Bearer {KEYS['api_keys']}"}
        ).text
    lines = set()
    for family in text_string_to_metric_families(exposed):
        for sample in family.samples:
            lines.add(" ".join([sample.name, family.type, *sorted(sample.labels)]))
    assert_recorded(METRIC_NAMES, "\n".join(sorted(lines)) + "\n")
