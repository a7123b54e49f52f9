import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.cli import _require_extra, app, main
from app.core.errors import StartupError
from app.core.head_labels import HEADS as NAMES
from app.model.checkpoint import open_checkpoint
from tests.conftest import HEADS, TRADES
from tests.support.ad_files import LABELLED, write


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def doppelkopf(tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["doppelkopf", *map(str, words)])
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return exit_.value.code or 0, captured.out, captured.err

    return run


def test_titles_are_trained_on_evaluated_and_predicted(doppelkopf, tmp_path, tiny_base):
    rows = [{"title": row["text"], **{head: row[head] for head in NAMES}} for row in LABELLED * 3]
    rows[0]["job_category"] = rows[1]["min_education"] = ""
    write(tmp_path / "titles.csv", rows)
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


def test_the_command_of_the_card_trains_the_same_weights(doppelkopf, tmp_path, tiny_base):
    write(tmp_path / "my ads.csv", LABELLED * 2)
    doppelkopf("train", "--data", "my ads.csv", "--base", tiny_base, "--out", "v1",
               "--epochs", 1, "--class-weights")  # fmt: skip
    card = (tmp_path / "v1" / "README.md").read_text()
    command = card.split("```sh\n")[1].split("\n```")[0]
    (tmp_path / "v1").rename(tmp_path / "before")
    import shlex

    code, _, err = doppelkopf(*shlex.split(command)[1:])
    assert code == 0, err
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("before", "v1"))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_show_prints_heads_labels_names_sizes_and_metrics(doppelkopf, tiny_folder):
    code, out, _ = doppelkopf("checkpoint", "show", tiny_folder)
    assert code == 0
    checkpoint = open_checkpoint(tiny_folder)
    for text in ("nursing", "Pflege", "kldb", "813 821", "ordered, lowest first",
                 "untrained", "64 tokens", checkpoint.revision,
                 f"{checkpoint.parameters:,}"):  # fmt: skip
        assert text in out


def test_list_shows_the_store_as_a_table_and_as_json(doppelkopf, tmp_path, tiny_folder):
    (tmp_path / "model_store" / "broken").mkdir(parents=True)
    (tmp_path / "model_store" / "tiny").symlink_to(tiny_folder)
    revision = open_checkpoint(tiny_folder).revision
    code, out, _ = doppelkopf("checkpoint", "list")
    assert code == 0
    assert revision in out
    assert "broken: The checkpoint model_store/broken has no file config.json." in out
    code, out, _ = doppelkopf("checkpoint", "list", "model_store", "--json")
    broken, sound = json.loads(out)["checkpoints"]
    assert (code, broken["revision"], sound["revision"]) == (0, None, revision)


def test_import_brings_in_a_state_dict(doppelkopf, tmp_path, tiny_base, tiny_folder):
    old = {}
    for name, tensor in load_file(tiny_folder / "model.safetensors").items():
        part, _, rest = name.partition(".")
        prefix = {"encoder": "bert.", "pooler": "bert.pooler.", "job_category": "job.",
                  "min_education": "edu."}[part]  # fmt: skip
        old[prefix + rest] = tensor
    save_file(old, tmp_path / "old.safetensors")
    (tmp_path / "labels.json").write_text(
        json.dumps({name: head.model_dump() for name, head in HEADS.items()})
    )
    words = ["checkpoint", "import", "old.safetensors", "--base", tiny_base, "--labels",
             "labels.json", "--out", "new"]  # fmt: skip
    code, _, err = doppelkopf(*words)
    assert (code, err.count("\n")) == (1, 1)
    assert "foreign tensor" in err or "no tensor" in err
    code, out, _ = doppelkopf(
        *words, "--job-category-prefix", "job.", "--min-education-prefix", "edu."
    )
    assert (code, out[:9]) == (0, "Saved new")
    new = load_file(tmp_path / "new" / "model.safetensors")
    assert all(
        torch.equal(new[name], tensor)
        for name, tensor in load_file(tiny_folder / "model.safetensors").items()
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["checkpoint", "show", "none"], "There is no checkpoint folder none.\n"),
        (["checkpoint", "list", "none"], "none cannot be listed: No such file or directory.\n"),
        (["evaluate", "none", "--data", "a.csv"], "There is no checkpoint folder none.\n"),
        (["predict", "none", "--data", "a.csv", "--out", "b.xlsx"], "b.xlsx: the suffix has to"),
        (["predict", "none", "--data", "a.csv", "--out", "o", "--ray"], "There is no checkpoint f"),
        (["predict", "--ray", "none", "--data", "a.csv", "--out", "o"], "There is no checkpoint f"),
        (
            ["predict", "--server", "http://h", "--data", "a.csv", "--out", "o", "--ray", "auto"],
            "With --ray name a checkpoint folder, not a server.\n",
        ),
        (
            ["predict", "m", "--data", "a.csv", "--out", "o", "--ray", "--partition-rows", "100"],
            "--partition-rows has to be a multiple of 512, not 100.\n",
        ),
        (["train", "--data", "a.csv", "--base", "./none", "--out", "v"], "There is no folder ./no"),
        (
            ["train", "--data", "a.csv", "--base", "./none", "--out", "v", "--epochs", "0"],
            "--epochs has to be at least 1, not 0.\n",
        ),
    ],
)
def test_what_cannot_begin_ends_with_one_sentence_and_code_1(doppelkopf, words, message):
    code, out, err = doppelkopf(*words)
    assert (code, out) == (1, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "There is no Ray cluster at '127.0.0.1:1': "),
        ("no.host.invalid:6379", "There is no Ray cluster at 'no.host.invalid:6379': "),
        ("ray://127.0.0.1:1", "Ray Data cannot be driven over ray://; run the command on a mach"),
    ],
)
def test_a_cluster_that_is_not_there_is_told_in_seconds(doppelkopf, tiny_folder, address, message):
    words = ["predict", tiny_folder, "--data", "a.csv", "--out", "o", "--ray", address]
    code, out, err = doppelkopf(*words)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(message)


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


def test_a_missing_extra_is_told_with_the_command_that_installs_it():
    with pytest.raises(StartupError, match=r'no_such_module.*pip install "doppelkopf\[train\]"'):
        _require_extra(["no_such_module"])


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
