import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.core.errors import CheckpointError
from app.core.types import Ad
from app.model.checkpoint import open_checkpoint, refuse_taken, save_checkpoint
from app.model.checkpoint_verification import (
    CARD,
    CONFIG,
    FILES,
    METRICS,
    TOKENIZER,
    TOKENIZER_CONFIG,
    WEIGHTS,
)
from app.model.packed_attention import PACKED
from tests.conftest import HEADS, POSITIONS, tiny_model


@pytest.fixture
def folder(tiny_folder, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def refusal(folder: Path) -> str:
    """Open a folder that has to be refused; return the one sentence."""
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert not message.endswith("..")
    return message


def edit_json(path: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def edit_weights(folder: Path, change: Callable[[dict], None]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


# --- what a whole folder gives


def test_an_opened_checkpoint_tells_what_it_holds(tiny_folder):
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
def test_the_model_loads_in_the_dtype_asked_for_whatever_was_saved(
    saved, tokenizer_files, tmp_path
):
    model = tiny_model().to(saved)
    checkpoint = save_checkpoint(tmp_path / "x", model, tokenizer_files, {}, "")
    for wanted in (torch.float32, torch.bfloat16):
        loaded = checkpoint.model(wanted, "sdpa")
        assert {parameter.dtype for parameter in loaded.parameters()} == {wanted}
        assert not loaded.training


def test_its_tokenizer_cuts_into_its_windows(checkpoint):
    tokenizer = checkpoint.tokenizer(max_windows=2)
    assert tokenizer.longest == 2 * POSITIONS
    (encoded,) = tokenizer.encode([Ad("Koch " * 500)])
    assert [len(window) for window in encoded.windows] == [POSITIONS] * 2


def test_special_tokens_may_be_objects_or_go_by_robertas_names(folder):
    def as_older_libraries_save_them(content):
        content["bos_token"] = content.pop("cls_token")
        content["eos_token"] = {"content": content.pop("sep_token"), "lstrip": False}

    edit_json(folder / TOKENIZER_CONFIG, as_older_libraries_save_them)
    special = open_checkpoint(folder).special
    assert (special.cls, special.sep) == (2, 3)


# --- the revision


def test_the_revision_is_short_and_stable(folder, tiny_folder):
    given = open_checkpoint(folder).revision
    assert len(given) == 8
    assert int(given, 16) >= 0
    assert given == open_checkpoint(tiny_folder).revision


@pytest.mark.parametrize("name", [CARD, METRICS])
def test_the_card_and_the_metrics_do_not_change_the_revision(folder, name):
    before = open_checkpoint(folder).revision
    (folder / name).write_text('{"f1": 0.9}')
    assert open_checkpoint(folder).revision == before


def swap_labels(folder: Path) -> None:
    edit_json(
        folder / CONFIG, lambda content: content["heads"]["min_education"]["labels"].reverse()
    )


def warm(folder: Path) -> None:
    edit_json(
        folder / CONFIG, lambda content: content["heads"]["job_category"].update(temperature=2)
    )


def nudge(folder: Path) -> None:
    edit_weights(folder, lambda tensors: tensors["job_category.bias"].add_(1))


def add_piece(folder: Path) -> None:
    edit_json(folder / TOKENIZER, lambda content: content["model"]["vocab"].update(Neues=450))


def other_separator(folder: Path) -> None:
    edit_json(folder / TOKENIZER_CONFIG, lambda content: content.update(sep_token="[MASK]"))


@pytest.mark.parametrize("change", [swap_labels, warm, nudge, add_piece, other_separator])
def test_whatever_changes_answers_changes_the_revision(folder, change):
    before = open_checkpoint(folder).revision
    change(folder)
    assert open_checkpoint(folder).revision != before


# --- damaged folders


def test_a_missing_folder_is_named(tmp_path):
    assert refusal(tmp_path / "none") == f"There is no checkpoint folder {tmp_path / 'none'}."
    (tmp_path / "file").write_text("")
    assert "There is no checkpoint folder" in refusal(tmp_path / "file")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert refusal(folder) == f"The checkpoint {folder} has no file {name}."


@pytest.mark.parametrize("name", [CONFIG, TOKENIZER_CONFIG, METRICS])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not JSON in UTF-8"),
        (b'{"model_type": ', "is not JSON in UTF-8"),
        (b"\xff\xfe{\x00}\x00", "is not JSON in UTF-8"),
        (b"[" * 100_000, "is not JSON in UTF-8"),
        (b"[1, 2]", "has to hold a JSON object"),
        (b"null", "has to hold a JSON object"),
    ],
    ids=["empty", "cut", "utf-16", "deep", "list", "null"],
)
def test_a_file_that_is_no_json_object_is_named(folder, name, content, problem):
    (folder / name).write_bytes(content)
    message = refusal(folder)
    assert f"{name} {problem}" in message


def head(name: str = "job_category", **fields):
    return lambda content: content["heads"][name].update(fields)


CONFIG_DAMAGE = {
    "another model": (
        lambda content: content.update(model_type="bert"),
        "describes a model of type 'bert', not 'two_head'",
    ),
    "no model type": (lambda content: content.pop("model_type"), "a model of type 'None'"),
    "foreign key": (lambda content: content.update(colour=1), "has an unknown key 'colour'"),
    "remote code": (
        lambda content: content.update(auto_map={"AutoModel": "evil.Model"}),
        "has an unknown key 'auto_map'",
    ),
    "other encoder": (
        lambda content: content["encoder"].update(model_type="modernbert"),
        "has an encoder of type 'modernbert'; supported are bert, electra",
    ),
    "no encoder": (lambda content: content.pop("encoder"), "an encoder of type 'None'"),
    "encoder is text": (lambda content: content.update(encoder="bert"), "of type 'None'"),
    "encoder's width is text": (
        lambda content: content["encoder"].update(hidden_size="wide"),
        "cannot be read: ",
    ),
    "encoder's activation is unknown": (
        lambda content: content["encoder"].update(hidden_act="nonsense"),
        "describes no model: ",
    ),
    "RoBERTa without padding": (
        lambda content: content["encoder"].update(model_type="roberta", pad_token_id=None),
        "cannot be read: ",
    ),
    "no heads": (lambda content: content.pop("heads"), "heads have to be job_category and"),
    "one head": (lambda content: content["heads"].pop("min_education"), "heads have to be"),
    "third head": (lambda content: content["heads"].update(salary={}), "heads have to be"),
    "head is a list": (lambda content: content["heads"].update(job_category=[]), "malformed head"),
    "no labels": (
        lambda content: content["heads"]["job_category"].pop("labels"),
        "has a malformed head: labels: Field required",
    ),
    "empty labels": (head(labels=[]), "has a malformed head: labels: "),
    "empty label": (head(labels=["a", "", "c"]), "has a malformed head: labels.1: "),
    "label twice": (head(labels=["a", "b", "a"]), "malformed head: the label 'a' appears twice"),
    "names too few": (head(names={"en": ["A"]}), "1 names in 'en' do not fit 3 labels"),
    "temperature 0": (head(temperature=0), "has a malformed head: temperature: "),
    "foreign key in a head": (head(colour=1), "has a malformed head: colour: "),
    "window too long": (
        lambda content: content.update(max_length=POSITIONS + 1),
        "windows of 65 tokens; its encoder takes from 8 to 64",
    ),
    "window too short": (lambda content: content.update(max_length=7), "windows of 7 tokens"),
    "window is text": (lambda content: content.update(max_length="64"), "windows of '64' tokens"),
    "window is null": (lambda content: content.update(max_length=None), "windows of None tokens"),
    "dropout is text": (lambda content: content.update(head_dropout="x"), "describes no model: "),
}


@pytest.mark.parametrize("name", CONFIG_DAMAGE)
def test_a_damaged_config_is_refused(folder, name):
    change, problem = CONFIG_DAMAGE[name]
    edit_json(folder / CONFIG, change)
    message = refusal(folder)
    assert message.startswith(f"{folder / CONFIG} ")
    assert problem in message


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_truncated_weights_are_refused(folder, share):
    path = folder / WEIGHTS
    os.truncate(path, int(path.stat().st_size * share))
    assert refusal(folder).startswith(f"{path} is damaged or no safetensors file: ")


@pytest.mark.parametrize("content", [b"garbage" * 100, b"\x80\x02}q\x00.", b"\xff" * 64])
def test_weights_that_are_no_safetensors_are_refused(folder, content):
    (folder / WEIGHTS).write_bytes(content)
    assert refusal(folder).startswith(f"{folder / WEIGHTS} is damaged or no safetensors file: ")


def test_bytes_behind_the_weights_are_refused(folder):
    with (folder / WEIGHTS).open("ab") as file:
        file.write(b"more")
    assert "is damaged or no safetensors file" in refusal(folder)


def widen(tensors):
    tensors["job_category.weight"] = torch.zeros(5, 32)
    tensors["job_category.bias"] = torch.zeros(5)


def quantize(tensors):
    name = "encoder.encoder.layer.0.output.dense.weight"
    tensors[name] = tensors[name].to(torch.int8)


WEIGHT_DAMAGE = {
    "head too wide": (widen, "the head 'job_category' is 5 wide, but config.json has 3 labels"),
    "missing tensor": (
        lambda tensors: tensors.pop("pooler.dense.bias"),
        "has no tensor 'pooler.dense.bias' (1 are missing)",
    ),
    "missing head": (
        lambda tensors: [tensors.pop(f"min_education.{part}") for part in ("weight", "bias")],
        "has no tensor 'min_education.bias' (2 are missing)",
    ),
    "foreign tensor": (
        lambda tensors: tensors.update(third_head=torch.zeros(3)),
        "has a foreign tensor 'third_head' (1 are unknown)",
    ),
    "other shape": (
        lambda tensors: tensors.update({"pooler.dense.weight": torch.zeros(32, 16)}),
        "the tensor 'pooler.dense.weight' is of shape (32, 16), not (32, 32)",
    ),
    "integers": (quantize, "holds I8; weights have to be F16, BF16, F32, F64"),
}


@pytest.mark.parametrize("name", WEIGHT_DAMAGE)
def test_weights_of_another_model_are_refused(folder, name):
    change, problem = WEIGHT_DAMAGE[name]
    edit_weights(folder, change)
    message = refusal(folder)
    assert str(folder / WEIGHTS) in message
    assert problem in message


def test_fewer_labels_than_the_head_is_wide_are_refused(folder):
    edit_json(folder / CONFIG, head("min_education", labels=["low", "high"], codes={}))
    assert "the head 'min_education' is 3 wide, but config.json has 2 labels" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b'{"version": "1.0"}'])
def test_a_tokenizer_file_of_garbage_is_refused(folder, content):
    (folder / TOKENIZER).write_bytes(content)
    assert refusal(folder).startswith(f"{folder / TOKENIZER} is not a tokenizer: ")


def test_a_tokenizer_with_more_pieces_than_the_embedding_is_refused(folder):
    edit_json(folder / TOKENIZER, lambda content: content["model"]["vocab"].update(Neues=500))
    assert refusal(folder) == (f"{folder / TOKENIZER} has 501 pieces, but the embedding only 500.")


def test_a_tokenizer_that_fails_on_unknown_words_is_refused(folder):
    def forget_unknown(content):
        del content["model"]["vocab"]["[UNK]"]
        content["added_tokens"] = [
            token for token in content["added_tokens"] if token["content"] != "[UNK]"
        ]

    edit_json(folder / TOKENIZER, forget_unknown)
    assert f"{TOKENIZER} fails on a word that it does not know: " in refusal(folder)


@pytest.mark.parametrize("role", ["cls_token", "sep_token"])
@pytest.mark.parametrize("value", [None, "", 7, "[NEW]", {"lstrip": False}])
def test_a_tokenizer_config_without_its_special_tokens_is_refused(folder, role, value):
    edit_json(folder / TOKENIZER_CONFIG, lambda content: content.update({role: value}))
    assert refusal(folder) == (
        f"{folder / TOKENIZER_CONFIG} names no {role} that {TOKENIZER} knows."
    )


# --- saving


def test_a_saved_folder_holds_its_files_and_leaves_nothing_beside_it(tokenizer_files, tmp_path):
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


def test_a_taken_target_is_refused_and_left_alone(tokenizer_files, tmp_path):
    target = tmp_path / "v1"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="exists already; choose another folder"):
        save_checkpoint(target, tiny_model(), tokenizer_files, {}, "")
    assert [path.name for path in target.iterdir()] == ["notes.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["v1"]


def test_refuse_taken_lets_only_new_and_empty_folders_pass(tmp_path):
    refuse_taken(tmp_path / "new")
    refuse_taken(tmp_path)
    (tmp_path / "file").write_text("")
    for taken in (tmp_path, tmp_path / "file"):
        with pytest.raises(CheckpointError, match="exists already"):
            refuse_taken(taken)


def test_a_save_that_does_not_verify_leaves_nothing_at_the_target(tokenizer_files, tmp_path):
    target = tmp_path / "v1"
    broken = {**tokenizer_files, TOKENIZER: b"{}"}
    with pytest.raises(CheckpointError, match="is not a tokenizer"):
        save_checkpoint(target, tiny_model(), broken, {}, "")
    assert not target.exists()
    # And what lies beside it neither stops the next attempt nor gets into it.
    (tmp_path / ".v1.partial").mkdir(exist_ok=True)
    (tmp_path / ".v1.partial" / "stray.bin").write_text("")
    assert save_checkpoint(target, tiny_model(), tokenizer_files, {}, "").path == target
    assert [path.name for path in tmp_path.iterdir()] == ["v1"]
    assert sorted(path.name for path in target.iterdir()) == sorted(FILES)


def test_a_save_that_breaks_off_leaves_nothing_at_the_target(tokenizer_files, tmp_path):
    target = tmp_path / "v1"
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_checkpoint(target, tiny_model(), tokenizer_files, {"x": object()}, "")
    assert not target.exists()
