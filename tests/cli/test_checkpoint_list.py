import json
import os
import shutil
from pathlib import Path

import pytest

from app.cli.checkpoint_list import list_as_json, list_checkpoints, list_table
from app.core.errors import CheckpointError
from app.model.checkpoint import open_checkpoint


@pytest.fixture
def store(tmp_path: Path, tiny_folder: Path) -> Path:
    store = tmp_path / "store"
    shutil.copytree(tiny_folder, store / "sound")
    shutil.copytree(tiny_folder, store / "cut")
    weights = store / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    (store / "empty").mkdir()
    (store / "current").symlink_to("sound")
    (store / "lost").symlink_to("nowhere")
    (store / ".v2.partial").mkdir()
    (store / "notes.txt").write_text("no checkpoint")
    return store


def test_damaged_folders_are_listed_with_the_reason(store):
    found = {one.name: one for one in list_checkpoints(store)}
    assert list(found) == ["current", "cut", "empty", "lost", "sound"]
    assert "damaged or no safetensors file" in found["cut"].problem
    assert "has no file config.json" in found["empty"].problem
    assert "cannot be read" in found["lost"].problem
    assert found["sound"].problem is found["current"].problem is None


def test_a_sound_folder_is_listed_with_labels_metrics_and_base(store, tiny_folder):
    metrics = {
        "job_category": {"accuracy": 0.91, "macro_f1": 0.8, "rows": 3},
        "trained_at": "2026-01-02T03:04:05+00:00",
        "command": "doppelkopf train --base 'models/a base' --out x",
    }
    (store / "sound" / "metrics.json").write_text(json.dumps(metrics))
    found = {one.name: one for one in list_checkpoints(store)}
    one = found["sound"]
    assert one.revision == open_checkpoint(tiny_folder).revision
    assert (one.base, one.languages) == ("a base", ("de",))
    assert one.labels == {"job_category": 3, "min_education": 3}
    assert one.metrics == {"job_category": {"accuracy": 0.91, "macro_f1": 0.8}}
    assert one.trained_at == "2026-01-02T03:04:05+00:00"
    assert one.bytes == sum(file.stat().st_size for file in (store / "sound").iterdir())
    assert found["current"].link == "sound"


def test_a_checkpoint_without_a_time_has_its_weights_files_time(store):
    os.utime(store / "sound" / "model.safetensors", (86400, 86400))
    (one,) = (one for one in list_checkpoints(store) if one.name == "sound")
    assert one.trained_at == "1970-01-02T00:00:00+00:00"


def test_metrics_of_an_unknown_shape_are_left_out(store):
    metrics = {"job_category": [1], "min_education": {"accuracy": "high"}, "command": "a 'b"}
    (store / "sound" / "metrics.json").write_text(json.dumps(metrics))
    (one,) = (one for one in list_checkpoints(store) if one.name == "sound")
    assert (one.metrics, one.base) == ({}, None)


def test_json_and_table_hold_every_folder(store):
    found = list_checkpoints(store)
    document = json.loads(list_as_json(found))["checkpoints"]
    assert [one["name"] for one in document] == [one.name for one in found]
    table, *problems = list_table(store, found)
    assert table.row_count == len(found)
    assert [line.split(":")[0] for line in problems] == ["cut", "empty", "lost"]


def test_an_empty_store_says_so_and_a_missing_one_is_refused(tmp_path):
    (line,) = list_table(tmp_path, list_checkpoints(tmp_path))
    assert "no checkpoint" in line
    with pytest.raises(CheckpointError, match="cannot be listed"):
        list_checkpoints(tmp_path / "none")
