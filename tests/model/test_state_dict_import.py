import json
import re

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import BertModel

from app.core.errors import CheckpointError
from app.core.types import Ad
from app.engine.engine import Engine
from app.model.state_dict_import import Prefixes, import_checkpoint
from tests.conftest import HEADS, tiny_encoder


class Original(nn.Module):
    """A model as trained elsewhere: BERT with two linear heads on its pooled output."""

    def __init__(self):
        super().__init__()
        self.bert: BertModel = tiny_encoder()
        self.classifier_job_type = nn.Linear(32, 3)
        self.classifier_edu_level = nn.Linear(32, 3)

    def forward(self, ids):
        pooled = self.bert(input_ids=ids).pooler_output
        return self.classifier_job_type(pooled), self.classifier_edu_level(pooled)


@pytest.fixture(scope="module")
def original():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Original().eval()


@pytest.fixture
def import_tensors(tmp_path, tiny_base):
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({name: head.model_dump() for name, head in HEADS.items()}))

    def make(tensors, file="old.safetensors", prefixes=None, save=None):
        path = tmp_path / file
        (save or (save_file if path.suffix == ".safetensors" else torch.save))(tensors, path)
        return import_checkpoint(
            path, str(tiny_base), labels, tmp_path / "new", prefixes or Prefixes()
        )

    return make


def assert_logits_of(original, checkpoint):
    ad = checkpoint.tokenizer().encode([Ad("Koch für die Küche")])[0]
    with torch.inference_mode():
        job, education = original(torch.from_numpy(ad.windows[0]).long()[None])
    answer = Engine(checkpoint, "cpu").logits([ad])[0]
    torch.testing.assert_close(torch.from_numpy(answer["job_category"]), job)
    torch.testing.assert_close(torch.from_numpy(answer["min_education"]), education)


@pytest.mark.parametrize("file", ["old.safetensors", "pytorch_model.bin", "old.pt"])
def test_an_imported_checkpoint_gives_the_originals_logits(original, import_tensors, file):
    checkpoint = import_tensors(original.state_dict(), file)
    assert checkpoint.heads == HEADS
    assert_logits_of(original, checkpoint)


def test_prefixes_can_be_chosen(original, import_tensors):
    renamed = {
        name.replace("bert.", "model.encoder.", 1)
        .replace("classifier_job_type", "job", 1)
        .replace("classifier_edu_level", "edu", 1): tensor
        for name, tensor in original.state_dict().items()
    }
    assert_logits_of(
        original, import_tensors(renamed, prefixes=Prefixes("model.encoder.", "job.", "edu."))
    )


def test_buffers_and_a_nested_state_dict_are_accepted(original, import_tensors):
    tensors = original.state_dict() | {"bert.embeddings.position_ids": torch.arange(64)[None]}
    assert_logits_of(original, import_tensors({"epoch": 3, "state_dict": dict(tensors)}, "old.pt"))


def test_float16_weights_stay_float16(original, import_tensors):
    checkpoint = import_tensors(
        {name: tensor.half() for name, tensor in original.state_dict().items()}
    )
    assert checkpoint.config.dtype == torch.float16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t | {"cls.bias": torch.ones(3)}, r"foreign tensor 'cls\.bias'"),
        (
            lambda t: without(t, "classifier_edu_level.bias"),
            "no tensor 'classifier_edu_level.bias'",
        ),
        (lambda t: without(t, "bert.pooler.dense.bias"), "no tensor 'bert.pooler.dense.bias'"),
        (
            lambda t: without(t, "bert.encoder.layer.1.output.dense.weight"),
            "no tensor 'bert.encoder.layer.1.output.dense.weight'",
        ),
        (
            lambda t: t | {"classifier_job_type.weight": torch.ones(5, 32)},
            "'classifier_job_type.weight' is 5 wide, but the label file has 3 labels",
        ),
        (
            lambda t: t | {"classifier_job_type.weight": torch.ones(3, 64)},
            r"is of shape \(3, 64\), but the base needs \(3, 32\)",
        ),
        (
            lambda t: t | {"bert.embeddings.word_embeddings.weight": torch.ones(400, 32)},
            r"is of shape \(400, 32\), but the base needs \(500, 32\)",
        ),
    ],
)
def test_a_misfit_tensor_is_refused_by_its_original_name(
    original, import_tensors, tmp_path, change, message
):
    with pytest.raises(CheckpointError, match=message) as error:
        import_tensors(change(original.state_dict()))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()


def without(tensors, name):
    return {key: tensor for key, tensor in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("old.safetensors", b"short", "damaged or no safetensors"),
        ("old.bin", b"short", "cannot be read as a state dict with weights only"),
    ],
)
def test_a_damaged_file_is_refused(import_tensors, file, content, message):
    with pytest.raises(CheckpointError, match=message):
        import_tensors(content, file, save=lambda data, path: path.write_bytes(data))


def test_a_pickle_that_runs_code_is_refused(original, import_tensors):
    # A pickle of the module, not of its state dict, runs the code that it names.
    with pytest.raises(CheckpointError, match=re.escape("torch.save(model.state_dict()")):
        import_tensors(original, "model.pt")


@pytest.mark.parametrize(("content", "message"), [({}, "no state dict"), ({"a": 1}, "under 'a'")])
def test_a_file_without_a_state_dict_is_refused(import_tensors, content, message):
    with pytest.raises(CheckpointError, match=message):
        import_tensors(content, "old.pt")
