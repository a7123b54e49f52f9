"""The README's shell blocks, run as a newcomer runs them: in order, in one folder, to the letter.

Only two things are replaced: the port, since 8000 may be taken, and the name of a base encoder on
the model hub, since tests have no network.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from app.core.label_files import read_labels
from app.schemas.classify import ClassifyResponse
from app.schemas.jobposting_response import JobPostingResponse
from tests.support.server_process import clean_environment, free_port, wait_until

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
SHOWN = re.findall(r"^```json\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def assert_like(answer, shown):
    """Compare explanations: places to the letter, weights as far as machines agree."""
    for one, other in zip(answer["sentences"], shown["sentences"], strict=True):
        assert one == pytest.approx(other, abs=1e-3)
    assert answer["text"] is None is answer["title"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder like a fresh clone whose environment is installed already."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "app"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.prefix) / "bin")
    (tmp_path / ".venv" / ".installed").touch()
    (tmp_path / "model_store").mkdir()
    (tmp_path / "model_store" / "demo").symlink_to(REPOSITORY / "model_store" / "demo")
    return tmp_path


@contextmanager
def serving(command: str, folder: Path, port: int, log: Path) -> Iterator[None]:
    """Run a command that serves, from ready to its end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder,
            env=clean_environment(port=str(port)),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def ready() -> bool:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            return httpx.get(f"http://localhost:{port}/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(ready, seconds=90)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


@pytest.mark.server
@pytest.mark.skipif(
    not (REPOSITORY / "model_store" / "demo").is_dir(), reason="there is no demo checkpoint"
)
def test_the_shell_blocks_do_what_the_readme_says(folder, tiny_base, tmp_path):
    port = free_port()

    def run(command: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def here(block: str) -> str:
        return block.replace("localhost:8000", f"localhost:{port}").replace(
            "bert-base-german-cased", str(tiny_base)
        )

    start, classify, test, batch, stream, why, posting, train, use, serve_own = BLOCKS
    # Not run: it would run this test. It has to exist and to run pytest.
    assert "python -m pytest -n 2\n" in run(f"make --dry-run {test.split()[1]}")
    with serving(start, folder, port, tmp_path / "demo.log"):
        answer = httpx.Response(200, text=run(here(classify))).json()
        assert answer["job_category"]["label"] == "nursing_emergency"
        assert answer["min_education"]["label"] == "vocational"
        results = httpx.Response(200, text=run(here(batch))).json()["results"]
        assert [
            (one["job_category"]["label"], one["min_education"]["label"]) for one in results
        ] == [("doctors", "master"), ("retail_sales", "vocational")]
        run(here(stream))
        lines = (folder / "answers.ndjson").read_text(encoding="utf-8").splitlines()
        first, error, last = map(json.loads, lines)
        assert (first["line"], first["job_category"]["label"]) == (1, "doctors")
        assert (error["line"], error["resume"], error["error"]["status"]) == (2, False, 422)
        assert (last["id"], len(last["min_education"]["top"])) == ("3", 1)
        one_by_one, bulk = (
            run(f"{sys.executable} - <<'PYTHON'\n{here(block)}PYTHON") for block in PYTHON
        )
        assert one_by_one.split() == ["doctors", "master", "hospitality_tourism", "retail_sales"]
        assert [line.split()[:2] for line in bulk.splitlines()] == [
            [str(line), str(line - 1)] for line in (250, 500, 750, 1000)
        ]
        answer = httpx.Response(200, text=run(here(why))).json()
        assert_like(answer["explanation"], json.loads(SHOWN[1])["explanation"])
        (answer,) = httpx.Response(200, text=run(here(posting))).json()["results"]
        (shown,) = json.loads(SHOWN[2])["results"]
        for part in ("id", "tokens", "model", "patch", "stated"):
            assert answer[part] == shown[part]
    run(here(train))
    shown = run(here(use))
    assert "kitchen" in shown
    assert (folder / "report" / "index.html").is_file()
    header, *rows = (folder / "predictions.csv").read_text(encoding="utf-8").splitlines()
    assert "job_category_predicted" in header
    assert len(rows) == 15
    with serving(serve_own, folder, port, tmp_path / "own.log"):
        model = httpx.get(f"http://localhost:{port}/model").json()
        assert model["name"] == "mine"
        labels = [one["label"] for one in model["heads"]["job_category"]["labels"]]
        assert labels == ["care", "kitchen", "software"]


def test_the_answer_shown_is_of_the_shape_that_is_sent():
    answer = ClassifyResponse.model_validate_json(SHOWN[0])
    assert answer.job_category.label == "nursing_emergency"
    assert len(answer.job_category.top) == 3
    explanation = ClassifyResponse.model_validate_json(SHOWN[1]).explanation
    assert explanation is not None
    assert len(explanation.sentences) == 2
    (posting,) = JobPostingResponse.model_validate_json(SHOWN[2]).results
    assert posting.stated.min_education.agrees is False


def test_the_label_file_shown_is_one(tmp_path):
    file = tmp_path / "labels.json"
    file.write_text(SHOWN[3], encoding="utf-8")
    assert read_labels(file)["min_education"].codes_of(1) == {
        "credential": ("professional certificate",)
    }
