import json

import torch
from safetensors.torch import load_file, save_file

from app.model.checkpoint import open_checkpoint
from tests.conftest import HEADS


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


def test_average_saves_a_checkpoint(doppelkopf, tmp_path, tiny_folder):
    code, out, err = doppelkopf("checkpoint", "average", tiny_folder, tiny_folder, "--out", "mean")
    assert code == 0, err
    revision = open_checkpoint(tmp_path / "mean").revision
    assert out == f"Saved mean, revision {revision}.\n"


def test_import_makes_a_checkpoint_of_a_state_dict(doppelkopf, tmp_path, tiny_base, tiny_folder):
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
