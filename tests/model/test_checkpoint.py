from pathlib import Path

import pytest
import torch

from app.core.errors import CheckpointError
from app.core.types import Ad
from app.model.checkpoint import open_checkpoint, require_empty_target, save_checkpoint
from app.model.checkpoint_verification import (
    CARD,
    CONFIG,
    FILES,
    METRICS,
    TOKENIZER,
    TOKENIZER_CONFIG,
)
from app.model.packed_attention import PACKED
from tests.conftest import HEADS, POSITIONS, tiny_model
from tests.support.checkpoint_edits import edit_json, edit_weights

# --- opening and loading


def test_an_opened_checkpoint_describes_the_folder(tiny_folder):
    checkpoint = open_checkpoint(tiny_folder)
    assert checkpoint.name == "tiny"
    assert dict(checkpoint.heads) == HEADS
    assert list(checkpoint.heads) == ["job_category", "min_education"]
    assert (checkpoint.special.cls, checkpoint.special.sep) == (2, 3)
    assert checkpoint.metrics == {"note": "untrained"}
    assert checkpoint.config.max_length == POSITIONS
    assert checkpoint.parameters == sum(p.numel() for p in tiny_model().parameters())
    assert sorted(path.name for path in tiny_folder.iterdir()) == sorted(FILES)


def test_a_folder_given_as_a_dot_has_a_name(tiny_folder, monkeypatch):
    monkeypatch.chdir(tiny_folder)
    assert open_checkpoint(".").name == "tiny"


@pytest.mark.parametrize("attention", [PACKED, "sdpa"])
def test_the_loaded_model_answers_as_the_saved_one(checkpoint, attention):
    ids = torch.tensor([[2, 50, 60, 70, 3]])
    bounds = {"cu_seq_lens": torch.tensor([0, 5]).int(), "longest": 5}
    with torch.inference_mode():
        expected = tiny_model()(ids).job_category_logits
        given = checkpoint.model(torch.float32, attention)(
            ids, **(bounds if attention == PACKED else {})
        ).job_category_logits
    torch.testing.assert_close(given, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("saved", [torch.float32, torch.float16, torch.bfloat16])
def test_a_model_loads_in_the_requested_dtype(saved, tokenizer_files, tmp_path):
    model = tiny_model().to(saved)
    checkpoint = save_checkpoint(tmp_path / "x", model, tokenizer_files, {}, "")
    for wanted in (torch.float32, torch.bfloat16):
        loaded = checkpoint.model(wanted, "sdpa")
        assert {parameter.dtype for parameter in loaded.parameters()} == {wanted}
        assert not loaded.training


def test_the_tokenizer_cuts_ads_into_windows_of_the_checkpoint(checkpoint):
    tokenizer = checkpoint.tokenizer(max_windows=2)
    assert tokenizer.max_ad_tokens == 2 * POSITIONS
    (encoded,) = tokenizer.encode([Ad("Koch " * 500)])
    assert [len(window) for window in encoded.windows] == [POSITIONS] * 2


# --- the revision


def test_the_revision_is_eight_hex_digits_and_stable(folder, tiny_folder):
    given = open_checkpoint(folder).revision
    assert len(given) == 8
    assert int(given, 16) >= 0
    assert given == open_checkpoint(tiny_folder).revision


@pytest.mark.parametrize("name", [CARD, METRICS])
def test_card_and_metrics_do_not_change_the_revision(folder, name):
    before = open_checkpoint(folder).revision
    (folder / name).write_text('{"f1": 0.9}')
    assert open_checkpoint(folder).revision == before


def swap_labels(folder: Path) -> None:
    edit_json(
        folder / CONFIG, lambda content: content["heads"]["min_education"]["labels"].reverse()
    )


def change_temperature(folder: Path) -> None:
    edit_json(
        folder / CONFIG, lambda content: content["heads"]["job_category"].update(temperature=2)
    )


def change_weights(folder: Path) -> None:
    edit_weights(folder, lambda tensors: tensors["job_category.bias"].add_(1))


def add_piece(folder: Path) -> None:
    edit_json(folder / TOKENIZER, lambda content: content["model"]["vocab"].update(Neues=450))


def change_separator(folder: Path) -> None:
    edit_json(folder / TOKENIZER_CONFIG, lambda content: content.update(sep_token="[MASK]"))


@pytest.mark.parametrize(
    "change",
    [swap_labels, change_temperature, change_weights, add_piece, change_separator],
)
def test_changes_that_affect_answers_change_the_revision(folder, change):
    before = open_checkpoint(folder).revision
    change(folder)
    assert open_checkpoint(folder).revision != before


# --- saving


def test_saving_writes_all_files_and_no_other(tokenizer_files, tmp_path):
    target = tmp_path / "deep" / "v1"
    checkpoint = save_checkpoint(target, tiny_model(), tokenizer_files, {"ä": 1}, "# Käse\n")
    assert checkpoint.path == target
    assert [path.name for path in target.parent.iterdir()] == ["v1"]
    assert sorted(path.name for path in target.iterdir()) == sorted(FILES)
    assert (target / CARD).read_text(encoding="utf-8") == "# Käse\n"
    assert checkpoint.metrics == {"ä": 1}


def test_an_empty_folder_may_be_the_target(tokenizer_files, tmp_path, monkeypatch):
    (tmp_path / "v1").mkdir()
    assert save_checkpoint(tmp_path / "v1", tiny_model(), tokenizer_files, {}, "").name == "v1"
    (tmp_path / "v2").mkdir()
    monkeypatch.chdir(tmp_path / "v2")
    assert save_checkpoint(Path(), tiny_model(), tokenizer_files, {}, "").name == "v2"
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert save_checkpoint(tmp_path / "link", tiny_model(), tokenizer_files, {}, "").name == "real"
    assert open_checkpoint(tmp_path / "link").heads == HEADS


def test_a_target_that_is_not_empty_is_refused_and_unchanged(tokenizer_files, tmp_path):
    target = tmp_path / "v1"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="exists already; choose another folder"):
        save_checkpoint(target, tiny_model(), tokenizer_files, {}, "")
    assert [path.name for path in target.iterdir()] == ["notes.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["v1"]


def test_only_new_and_empty_targets_are_accepted(tmp_path):
    require_empty_target(tmp_path / "new")
    require_empty_target(tmp_path)
    (tmp_path / "file").write_text("")
    for taken in (tmp_path, tmp_path / "file"):
        with pytest.raises(CheckpointError, match="exists already"):
            require_empty_target(taken)


def test_a_save_that_fails_verification_leaves_no_target(tokenizer_files, tmp_path):
    target = tmp_path / "v1"
    broken = {**tokenizer_files, TOKENIZER: b"{}"}
    with pytest.raises(CheckpointError, match="is not a tokenizer"):
        save_checkpoint(target, tiny_model(), broken, {}, "")
    assert not target.exists()
    # A partial folder of an earlier attempt does not disturb the next one.
    (tmp_path / ".v1.partial").mkdir(exist_ok=True)
    (tmp_path / ".v1.partial" / "stray.bin").write_text("")
    assert save_checkpoint(target, tiny_model(), tokenizer_files, {}, "").path == target
    assert [path.name for path in tmp_path.iterdir()] == ["v1"]
    assert sorted(path.name for path in target.iterdir()) == sorted(FILES)


def test_an_interrupted_save_leaves_no_target(tokenizer_files, tmp_path):
    target = tmp_path / "v1"
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_checkpoint(target, tiny_model(), tokenizer_files, {"x": object()}, "")
    assert not target.exists()
