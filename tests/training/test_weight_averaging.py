import pytest
import torch

from app.core.errors import CheckpointError
from app.core.head_labels import Head
from app.model.checkpoint import open_checkpoint, save_checkpoint
from app.model.classifier import TwoHeadClassifier
from app.training.weight_averaging import average_weights, save_average
from tests.conftest import HEADS, POSITIONS, tiny_encoder, tiny_model


@pytest.fixture
def saved(tmp_path, tokenizer_files):
    def save(name, model):
        return save_checkpoint(tmp_path / name, model, tokenizer_files, {}, "# card\n")

    return save


def shifted(by):
    model = tiny_model()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor += by
    return model


def test_every_weight_is_the_mean_of_the_checkpoints(saved):
    mean = average_weights([saved(f"v{by}", shifted(by)) for by in (0.0, 0.1, 0.5)]).state_dict()
    expected = shifted(0.2).state_dict()
    assert mean.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.allclose(mean[name], tensor, atol=1e-6)


def test_half_precision_weights_are_averaged_in_float32(saved):
    checkpoints = [saved(f"v{by}", shifted(by).half()) for by in (0.0, 0.001)]
    assert all(
        tensor.dtype == torch.float32 for tensor in average_weights(checkpoints).parameters()
    )


def test_the_average_has_temperature_one(saved):
    model = tiny_model()
    model.config.heads["job_category"]["temperature"] = 2.0
    mean = average_weights([saved("v1", model)])
    assert torch.equal(mean.pooler.dense.weight, model.pooler.dense.weight)
    assert mean.config.parsed_heads()["job_category"].temperature == 1.0


def test_checkpoints_of_other_labels_or_shapes_are_refused(saved, tiny_folder):
    heads = HEADS | {"job_category": Head(labels=("a", "b", "c"))}
    other = TwoHeadClassifier.from_encoder(tiny_encoder(), heads, max_length=POSITIONS)
    with pytest.raises(CheckpointError, match="other labels"):
        average_weights([open_checkpoint(tiny_folder), saved("labels", other)])
    deeper = TwoHeadClassifier.from_encoder(tiny_encoder(layers=3), HEADS, max_length=POSITIONS)
    with pytest.raises(CheckpointError, match="other shapes"):
        average_weights([open_checkpoint(tiny_folder), saved("deeper", deeper)])


def test_the_saved_average_names_its_parts(saved, tmp_path):
    parts = [saved(f"v{by}", shifted(by).half()) for by in (0.0, 0.5)]
    made = save_average([part.path for part in parts], tmp_path / "mean")
    assert made.config.dtype == torch.float16
    assert made.metrics["average_of"] == [part.revision for part in parts]
    assert parts[1].revision in (made.path / "README.md").read_text(encoding="utf-8")
    with pytest.raises(CheckpointError, match="exists already"):
        save_average([part.path for part in parts], made.path)


def test_checkpoints_with_different_tokenizers_are_refused(saved, tmp_path, tokenizer_files):
    other = dict(tokenizer_files)
    other["tokenizer.json"] = other["tokenizer.json"].replace(b"Restaurant", b"Restauraht")
    second = save_checkpoint(tmp_path / "other", tiny_model(), other, {}, "# card\n")
    with pytest.raises(CheckpointError, match="different tokenizers"):
        save_average([saved("v1", tiny_model()).path, second.path], tmp_path / "mean")
