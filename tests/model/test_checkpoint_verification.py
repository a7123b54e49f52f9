import os
from pathlib import Path

import pytest
import torch

from app.core.errors import CheckpointError
from app.model.checkpoint import open_checkpoint
from app.model.checkpoint_verification import (
    CONFIG,
    FILES,
    METRICS,
    TOKENIZER,
    TOKENIZER_CONFIG,
    WEIGHTS,
)
from tests.conftest import POSITIONS
from tests.support.checkpoint_edits import edit_json, edit_weights


def refusal(folder: Path) -> str:
    """Open a folder that has to be refused; return the error message, which is one sentence."""
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert not message.endswith("..")
    return message


def test_a_missing_folder_is_refused(tmp_path):
    assert refusal(tmp_path / "none") == f"There is no checkpoint folder {tmp_path / 'none'}."
    (tmp_path / "file").write_text("")
    assert "There is no checkpoint folder" in refusal(tmp_path / "file")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(folder, name):
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
def test_a_file_that_is_no_json_object_is_refused(folder, name, content, problem):
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
def test_weights_in_other_formats_are_refused(folder, content):
    (folder / WEIGHTS).write_bytes(content)
    assert refusal(folder).startswith(f"{folder / WEIGHTS} is damaged or no safetensors file: ")


def test_extra_bytes_after_the_weights_are_refused(folder):
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


def test_fewer_labels_than_the_heads_width_are_refused(folder):
    edit_json(folder / CONFIG, head("min_education", labels=["low", "high"], codes={}))
    assert "the head 'min_education' is 3 wide, but config.json has 2 labels" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b'{"version": "1.0"}'])
def test_an_invalid_tokenizer_file_is_refused(folder, content):
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
def test_a_tokenizer_config_without_special_tokens_is_refused(folder, role, value):
    edit_json(folder / TOKENIZER_CONFIG, lambda content: content.update({role: value}))
    assert refusal(folder) == (
        f"{folder / TOKENIZER_CONFIG} names no {role} that {TOKENIZER} knows."
    )


def test_special_tokens_may_be_objects_or_have_robertas_names(folder):
    def as_older_libraries_save_them(content):
        content["bos_token"] = content.pop("cls_token")
        content["eos_token"] = {"content": content.pop("sep_token"), "lstrip": False}

    edit_json(folder / TOKENIZER_CONFIG, as_older_libraries_save_them)
    special = open_checkpoint(folder).special
    assert (special.cls, special.sep) == (2, 3)
