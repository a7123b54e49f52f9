import json
import os
import shutil
from pathlib import Path

import pytest
from app.listing import as_document, list_checkpoints, show_list

from app.checkpoint import open_checkpoint
from app.errors import CheckpointError


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


def test_a_sound_one_tells_what_it_is(store, tiny_folder):
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


def test_one_that_notes_no_time_has_that_of_its_weights(store):
    os.utime(store / "sound" / "model.safetensors", (86400, 86400))
    (one,) = (one for one in list_checkpoints(store) if one.name == "sound")
    assert one.trained_at == "1970-01-02T00:00:00+00:00"


def test_metrics_of_another_shape_do_no_harm(store):
    metrics = {"job_category": [1], "min_education": {"accuracy": "high"}, "command": "a 'b"}
    (store / "sound" / "metrics.json").write_text(json.dumps(metrics))
    (one,) = (one for one in list_checkpoints(store) if one.name == "sound")
    assert (one.metrics, one.base) == ({}, None)


def test_the_document_and_the_table_hold_every_folder(store):
    found = list_checkpoints(store)
    document = json.loads(as_document(found))["checkpoints"]
    assert [one["name"] for one in document] == [one.name for one in found]
    table, *problems = show_list(store, found)
    assert table.row_count == len(found)
    assert [line.split(":")[0] for line in problems] == ["cut", "empty", "lost"]


def test_an_empty_store_says_so_and_one_that_is_not_there_is_an_error(tmp_path):
    (line,) = show_list(tmp_path, list_checkpoints(tmp_path))
    assert "no checkpoint" in line
    with pytest.raises(CheckpointError, match="cannot be listed"):
        list_checkpoints(tmp_path / "none")
