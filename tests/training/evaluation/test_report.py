import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from app.core.head_labels import Head
from app.training.evaluation.evaluate import Evaluation
from app.training.evaluation.head_metrics import measure_head
from app.training.evaluation.report import write_report

PNG = b"\x89PNG\r\n\x1a\n"


def evaluation(labels=("a", "b"), rows=40):
    random = np.random.default_rng(0)
    head = Head(labels=labels, temperature=2.0)
    targets = random.integers(0, len(labels), rows)
    logits = [random.normal(size=(1, len(labels))).astype(np.float32) for _ in range(rows)]
    none = np.full(rows, -100)
    return Evaluation(
        checkpoint="v1", revision="0123abcd", data="<b>.csv", sha256="ff", rows=rows, unlabelled=0,
        truncated=0,
        heads={"job_category": measure_head(logits, targets, head),
               "min_education": measure_head(logits, none, head)},
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    write_report(evaluation(), tmp_path / "report")
    return tmp_path / "report"


def test_the_report_has_page_metrics_and_plots(folder):
    assert sorted(file.name for file in folder.iterdir()) == [
        "index.html", "job_category_confusion.png", "job_category_reliability.png", "metrics.json",
    ]  # fmt: skip
    for file in folder.glob("*.png"):
        assert file.read_bytes().startswith(PNG)
    figures = json.loads((folder / "metrics.json").read_text())
    assert np.sum(figures["job_category"]["confusion"]) == 40
    assert figures["min_education"]["rows"] == 0


def test_the_page_loads_no_other_files_and_escapes_names(folder):
    page = (folder / "index.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 2
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "url(" not in page
    assert "<b>.csv" not in page
    assert "&lt;b&gt;.csv" in page
    assert "No row has a label for this head." in page


def test_the_page_is_well_formed(folder):
    open_tags = []

    class Check(HTMLParser):
        def handle_starttag(self, tag, _attrs):
            if tag not in ("meta", "img"):
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Check().feed((folder / "index.html").read_text())
    assert not open_tags


def test_a_second_report_replaces_the_first(folder):
    write_report(evaluation(rows=10), folder)
    assert json.loads((folder / "metrics.json").read_text())["rows"]["labelled"] == 10
