import json
import shutil

import pytest
import torch

from app.core.errors import CheckpointError
from app.model.base_encoder import keep_layers, open_base_encoder
from tests.conftest import POSITIONS, tiny_encoder


@pytest.fixture
def broken(tmp_path, tiny_base):
    """A copy of the base that a test may damage."""
    shutil.copytree(tiny_base, tmp_path / "base")
    return tmp_path / "base"


def edit(folder, name, **changes):
    content = json.loads((folder / name).read_text()) | changes
    (folder / name).write_text(json.dumps(content))


def test_a_base_has_encoder_tokenizer_and_window(tiny_base):
    base = open_base_encoder(str(tiny_base))
    assert base.window(None) == POSITIONS
    assert base.window(16) == 16
    weight = base.encoder().embeddings.word_embeddings.weight
    assert torch.equal(weight, base.encoder().embeddings.word_embeddings.weight)
    assert base.tokenizer(16).max_length == 16
    assert b"local" not in base.tokenizer_files["tokenizer_config.json"]


@pytest.mark.parametrize("max_length", [7, POSITIONS + 1])
def test_an_impossible_window_length_is_refused(tiny_base, max_length):
    with pytest.raises(CheckpointError, match="--max-length has to lie between 8 and 64"):
        open_base_encoder(str(tiny_base)).window(max_length)


def test_a_missing_folder_is_refused_without_network_access(tmp_path):
    for name in (str(tmp_path / "none"), "./none", "../none"):
        with pytest.raises(CheckpointError, match=r"There is no folder .*none"):
            open_base_encoder(name)


def test_a_folder_without_a_config_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="holds no base encoder"):
        open_base_encoder(str(tmp_path))


def test_an_unsupported_type_is_refused(broken):
    edit(broken, "config.json", model_type="gpt2")
    with pytest.raises(CheckpointError, match="of type 'gpt2'; supported are bert"):
        open_base_encoder(str(broken))


def test_a_tokenizer_with_more_pieces_than_the_embedding_is_refused(broken):
    edit(broken, "config.json", vocab_size=50)
    with pytest.raises(CheckpointError, match="pieces, but its embedding only 50"):
        open_base_encoder(str(broken))


def test_a_missing_tokenizer_is_refused(broken):
    (broken / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="tokenizer"):
        open_base_encoder(str(broken))


def test_damaged_weights_are_refused_in_one_line(broken):
    (broken / "model.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="weights of the base") as error:
        open_base_encoder(str(broken)).encoder()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("of", "kept", "indices"), [(12, 6, [0, 2, 4, 7, 9, 11]), (4, 4, [0, 1, 2, 3]), (4, 1, [0])]
)
def test_evenly_spaced_layers_are_kept(of, kept, indices):
    encoder = tiny_encoder(layers=of)
    before = list(encoder.encoder.layer)
    keep_layers(encoder, kept)
    assert [before.index(layer) for layer in encoder.encoder.layer] == indices
    assert encoder.config.num_hidden_layers == kept


@pytest.mark.parametrize("layers", [0, 3])
def test_more_layers_than_the_base_has_are_refused(layers):
    with pytest.raises(CheckpointError, match="--layers has to lie between 1 and 2"):
        keep_layers(tiny_encoder(), layers)
