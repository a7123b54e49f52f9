import json
import subprocess
import sys

import pytest

from app.cli import app
from app.core.head_labels import HEADS
from tests.conftest import TRADES
from tests.support.ad_files import LABELLED_ADS, write_ads


def test_titles_are_trained_on_evaluated_and_predicted(doppelkopf, tmp_path, tiny_base):
    rows = [
        {"title": row["text"], **{head: row[head] for head in HEADS}} for row in LABELLED_ADS * 3
    ]
    rows[0]["job_category"] = rows[1]["min_education"] = ""
    write_ads(tmp_path / "titles.csv", rows)
    code, out, err = doppelkopf(
        "train", "--data", "titles.csv", "--base", tiny_base, "--out", "v1", "--epochs", 1,
        "--seed", 7,
    )  # fmt: skip
    assert code == 0, err
    assert "Saved v1, revision" in out
    assert "Epoch 1/1: training loss" in err
    assert "it/s" not in err

    code, out, err = doppelkopf("evaluate", "v1", "--data", "titles.csv", "--device", "cpu")
    assert code == 0, err
    assert "macro F1" in out
    assert (tmp_path / "evaluation" / "v1-titles" / "index.html").is_file()

    code, out, err = doppelkopf("predict", "v1", "--data", "titles.csv", "--out", "p.jsonl")
    assert code == 0, err
    assert out == "Wrote 27 rows to p.jsonl.\n"
    first = json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])
    assert first["title"] == rows[0]["title"]
    assert first["job_category_predicted"] in TRADES


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["checkpoint", "show", "none"], "There is no checkpoint folder none.\n"),
        (["checkpoint", "list", "none"], "none cannot be listed: No such file or directory.\n"),
        (["evaluate", "none", "--data", "a.csv"], "There is no checkpoint folder none.\n"),
        (["train", "--data", "a.csv", "--base", "./none", "--out", "v"], "There is no folder ./no"),
        (
            ["train", "--data", "a.csv", "--base", "./none", "--out", "v", "--epochs", "0"],
            "--epochs has to be at least 1, not 0.\n",
        ),
        (["serve", "--port", "none"], "DOPPELKOPF_PORT: "),
        (["bench", "--ads", "a.jsonl", "--json", "no/f"], "There is no folder no to write f to.\n"),
    ],
)
def test_a_command_that_cannot_start_prints_one_sentence(doppelkopf, words, message):
    code, out, err = doppelkopf(*words)
    assert (code, out) == (1, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_an_unknown_option_is_a_usage_error(doppelkopf):
    assert doppelkopf("predict", "--nonsense")[0] == 2


def test_ctrl_c_ends_with_its_sentence_and_code_130(doppelkopf):
    def stop():
        raise KeyboardInterrupt("Interrupted; run it again.")

    app.command("stop-for-test", hidden=True)(stop)
    try:
        assert doppelkopf("stop-for-test") == (130, "", "Interrupted; run it again.\n")
    finally:
        app.registered_commands.pop()


def test_help_loads_no_heavy_library():
    program = (
        "import sys, app.cli\n"
        "try: app.cli.app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'pandas', 'sklearn', 'matplotlib', 'numpy'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "python -m app.cli" in done.stdout
    for command in ("train", "evaluate", "predict", "demo", "bench", "serve", "checkpoint"):
        assert f" {command} " in done.stdout
