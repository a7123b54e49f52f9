"""Runs the blocks of every page, in order and unchanged, each page in a fresh folder.

Only two things are replaced: the port, because 8000 may be taken, and the name of a base encoder on
the model hub, because tests have no network.

The language of a block decides what happens to it:

- `sh` and `python` are run, `json` is compared with an answer or used as a file: see `READ`.
- `console` and `text` are not run; `NOT_RUN` names each of them and the reason.
- `yaml` is rendered by the tests of the Kubernetes manifests.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.label_files import read_labels
from app.schemas.classify import ClassifyResponse
from app.schemas.jobposting_response import JobPostingResponse
from tests.docs.page_reader import RUN, PageReader
from tests.docs.pages import PAGES, ROOT, Block

NOT_RUN = {
    ("docs/bulk.md", "doppelkopf predict model_store/mine --ray head:6379 --data "
     "'s3://ads/2026/*.parquet' --out s3://ads/answers"): "needs a Ray cluster and an object store",
    ("docs/client.md", "pip install httpx pydantic && pip install --no-deps ."):
        "installs; tests of the client run it where only these two are installed",
    ("docs/client.md", "npx openapi-typescript http://localhost:8000/openapi.json "
     "--default-non-nullable=false -o api.ts"):
        "needs Node.js; tests/acceptance/typescript runs it",
    ("docs/operations.md", "docker compose up                             # the API on a CPU "
     "(port 8000), Prometheus (9090), Grafana (3000)"): "needs Docker",
    ("docs/operations.md", "11:51:08 INFO     request method=POST route=/classify status=200 "
     "bytes=702 total_ms=43.95 ads=1 tokens=285 tokenize_ms=0.61 queue_ms=0.12 batch_ms=41.8 "
     "request_id=job-7"): "a line of the log",
    ("docs/operations.md", "ln -sfn v2 model_store/current && kill -HUP PID"):
        "needs a second checkpoint and a process id; tests of swaps do the same",
    ("docs/runbook.md", "kubectl -n jobs logs -l app.kubernetes.io/name=doppelkopf --prefix "
     "--previous"): "needs a Kubernetes cluster",
    ("docs/scaling.md", "doppelkopf serve --workers 8"): "takes ten cores; tests of workers run 2",
    ("docs/scaling.md", 'pip install "doppelkopf[ray]"                         # on each machine'):
        "needs several machines; tests of clusters start several nodes here",
    ("docs/scaling.md", "doppelkopf bench http://localhost:8000 --ads ads.jsonl --sweep "
     "--json knee.json --plot knee.png"): "takes minutes; tests of the bench run it shorter",
    ("docs/training.md", "doppelkopf train --data ads.csv --base bert-base-german-cased "
     "--out model_store/teacher --freeze-layers 6"): "needs a base of six layers or more",
    ("docs/training.md", "make demo-checkpoint"): "takes hours",
    ("deploy/README.md", "promtool check config deploy/prometheus.yml"):
        "needs promtool; tests of the monitoring run both commands",
    ("deploy/README.md", "kubectl create namespace jobs"): "needs a Kubernetes cluster",
    ("deploy/README.md", "(printf '%s\\n' 'apiVersion: monitoring.coreos.com/v1' "
     "'kind: PrometheusRule' 'metadata: {name: doppelkopf}' 'spec:'"):
        "needs a Kubernetes cluster; tests of the cluster files run all but kubectl",
    ("deploy/README.md", "helm upgrade --install kuberay-operator kuberay-operator "
     "--repo https://ray-project.github.io/kuberay-helm/ \\"): "needs Docker and Kubernetes",
}  # fmt: skip
"""Why a block is not run, by its page and its first line."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder like a fresh clone with an installed environment."""
    for name in ("Makefile", "pyproject.toml", "requirements", "app"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.prefix) / "bin")
    (tmp_path / ".venv" / ".installed").touch()
    (tmp_path / "model_store").mkdir()
    (tmp_path / "model_store" / "demo").symlink_to(ROOT / "model_store" / "demo")
    return tmp_path


def best(answer: dict[str, Any]) -> tuple[str, str]:
    """Return both labels of an answer."""
    return answer["job_category"]["label"], answer["min_education"]["label"]


def assert_like(answer: dict[str, Any], shown: dict[str, Any]) -> None:
    """Compare explanations: positions must be equal, weights within 0.001."""
    for one, other in zip(answer["sentences"], shown["sentences"], strict=True):
        assert one == pytest.approx(other, abs=1e-3)
    assert answer["text"] is None is answer["title"]


def own_model(reader: PageReader) -> None:
    """Check that the served checkpoint is the one that the page trained."""
    model = reader.get("/model").json()
    assert model["name"] == "mine"
    labels = [one["label"] for one in model["heads"]["job_category"]["labels"]]
    assert labels == ["care", "kitchen", "software"]


def read_readme(reader: PageReader) -> None:
    with reader.serving():
        answer, shown = json.loads(reader.sh()), reader.json()
        assert best(answer) == best(shown) == ("nursing_emergency", "vocational")
        for part in ("id", "tokens", "windows", "truncated", "model"):
            assert answer[part] == shown[part]
    # Not run, because it would run this test: only checked to run pytest.
    words = reader.take("sh").split()
    assert words == ["make", "test"]
    assert "python -m pytest -n 2\n" in reader.run("make --dry-run test")
    assert "kitchen" in reader.sh()
    with reader.serving():
        own_model(reader)


def read_api(reader: PageReader) -> None:
    with reader.serving("make serve"):
        answer = json.loads(reader.sh())
        assert (answer["id"], best(answer)[0]) == ("job-7", "nursing_emergency")
        results = json.loads(reader.sh())["results"]
        assert [*map(best, results)] == [("doctors", "master"), ("retail_sales", "vocational")]
        html = json.loads(reader.sh())
        plain = {"text": "Profil\nabgeschlossene Ausbildung in der Pflege"}
        address = f"http://localhost:{reader.port}/classify"
        assert best(html) == best(httpx.post(address, json=plain).json())
        answer, shown = json.loads(reader.sh()), reader.json()
        assert_like(answer["explanation"], shown["explanation"])
        (answer,), (shown,) = json.loads(reader.sh())["results"], reader.json()["results"]
        for part in ("id", "tokens", "model", "patch", "stated"):
            assert answer[part] == shown[part]
        reader.sh()
        first, error, last = map(json.loads, reader.lines("answers.ndjson"))
        assert (first["line"], first["job_category"]["label"]) == (1, "doctors")
        assert (error["line"], error["resume"], error["error"]["status"]) == (2, False, 422)
        assert (last["id"], len(last["min_education"]["top"])) == ("3", 1)


def read_client(reader: PageReader) -> None:
    with reader.serving("make serve"):
        one_by_one, bulk = reader.python(), reader.python()
    assert one_by_one.split() == ["doctors", "master", "hospitality_tourism", "retail_sales"]
    assert [line.split()[:2] for line in bulk.splitlines()] == [
        [str(line), str(line - 1)] for line in (250, 500, 750, 1000)
    ]


def read_training(reader: PageReader) -> None:
    reader.sh()
    reader.sh()
    assert "kitchen" in reader.sh()
    assert (reader.folder / "report" / "index.html").is_file()
    header, *rows = reader.lines("predictions.csv")
    assert "job_category_predicted" in header
    assert len(rows) == 15
    with reader.serving():
        own_model(reader)
    (reader.folder / "labels.json").write_text(reader.take("json"), encoding="utf-8")
    reader.run(
        ".venv/bin/doppelkopf train --data ads.csv --base bert-base-german-cased --epochs 1 "
        "--labels labels.json --out model_store/labelled"
    )


def read_bulk(reader: PageReader) -> None:
    with reader.serving("make serve"):
        reader.sh()
        here = reader.lines("predictions.csv")
        reader.sh()
        there = reader.lines("from-server.csv")
    header = here[0].split(",")
    assert header[:3] == ["id", "text", "job_category_predicted"]
    assert header[-1] == "prediction_error"
    assert [row.split(",")[2] for row in here[1:]] == ["doctors", "retail_sales", ""]
    assert here[3].split(",")[-1]
    assert [row.split(",")[2] for row in there] == [row.split(",")[2] for row in here]


def read_configuration(reader: PageReader) -> None:
    with reader.serving():
        assert reader.get("/model").json()["limits"]["max_windows"] == 2


def read_operations(reader: PageReader) -> None:
    with reader.serving("make serve"):
        reader.sh()
        assert "doppelkopf_ready 1.0" in reader.sh()
        assert "demo" in reader.sh()


def read_contributing(reader: PageReader) -> None:
    listed = {line.split()[0] for line in reader.sh().splitlines()}
    (rows,) = PAGES["CONTRIBUTING.md"].table("command", "what it does")
    made = {command.strip("`").removeprefix("make ") for command, _ in rows} - {".ci/run"}
    assert made <= listed


READ: dict[str, Callable[[PageReader], None]] = {
    "README.md": read_readme,
    "CONTRIBUTING.md": read_contributing,
    "docs/api.md": read_api,
    "docs/bulk.md": read_bulk,
    "docs/client.md": read_client,
    "docs/configuration.md": read_configuration,
    "docs/operations.md": read_operations,
    "docs/training.md": read_training,
}
"""The function that runs a page's blocks and checks what they do."""


@pytest.mark.server
@pytest.mark.skipif(
    not (ROOT / "model_store" / "demo").is_dir(), reason="there is no demo checkpoint"
)
@pytest.mark.parametrize("page", READ)
def test_blocks_of_a_page_do_what_it_says(page, folder, tiny_base):
    reader = PageReader(page, folder, tiny_base)
    READ[page](reader)
    assert not reader.left, "blocks that were not run"


def blocks(*languages: str) -> list[Block]:
    return [
        block for page in PAGES.values() for block in page.blocks if block.language in languages
    ]


def test_every_page_with_blocks_to_run_has_a_reader():
    assert {block.page for block in blocks(*RUN)} == READ.keys()


def test_blocks_that_are_not_run_are_listed_with_a_reason():
    names = [block.name for block in blocks("console", "text")]
    assert len(set(names)) == len(names)
    assert set(names) == NOT_RUN.keys()
    assert all(NOT_RUN.values())


def test_blocks_have_known_languages():
    for page in PAGES.values():
        fences = [line for line in page.text.splitlines() if line.lstrip().startswith("```")]
        assert len(fences) == 2 * len(page.blocks), f"{page.name} has a fence that is not closed"
        for block in page.blocks:
            assert block.language in (*RUN, "console", "text", "yaml"), block
    # Only tests/deploy renders them.
    assert {block.page for block in blocks("yaml")} == {"deploy/README.md"}


def shown(page: str) -> list[str]:
    return [block.text for block in PAGES[page].blocks if block.language == "json"]


def test_answers_shown_match_the_response_schemas():
    (text,) = shown("README.md")
    answer = ClassifyResponse.model_validate_json(text)
    assert answer.job_category.label == "nursing_emergency"
    assert len(answer.job_category.top) == 3
    explained, postings = shown("docs/api.md")
    explanation = ClassifyResponse.model_validate_json(explained).explanation
    assert explanation is not None
    assert len(explanation.sentences) == 2
    (posting,) = JobPostingResponse.model_validate_json(postings).results
    assert posting.stated.min_education.agrees is False


def test_label_file_shown_can_be_read(tmp_path):
    file = tmp_path / "labels.json"
    (text,) = shown("docs/training.md")
    file.write_text(text, encoding="utf-8")
    assert read_labels(file)["min_education"].codes_of(1) == {
        "credential": ("professional certificate",)
    }
