import pytest

from app.engine.add_norm_kernel import add_norm
from app.engine.fused_layer import FusedLayer, fuse_layers
from app.model.classifier import ENCODERS
from tests.conftest import tiny_model
from tests.support.packed_models import assert_same_logits, run_packed, some_windows


@pytest.mark.parametrize("kind", ENCODERS)
def test_fused_layers_give_the_logits_of_the_originals(kind):
    model, windows = tiny_model(kind), some_windows()
    expected = run_packed(model, windows)
    model.keep_first_tokens()
    fuse_layers(model, add_norm)
    assert_same_logits(run_packed(model, windows), expected, 1e-5)


def test_all_layers_but_the_last_are_fused():
    """Each fused layer computes both of its sums with the function given."""
    model, sums = tiny_model("bert"), []

    def counted(added, states, norm):
        sums.append(added.shape)
        return add_norm(added, states, norm)

    model.keep_first_tokens()
    fuse_layers(model, counted)
    layers = model.encoder.encoder.layer
    assert [isinstance(layer, FusedLayer) for layer in layers] == [True] * (len(layers) - 1) + [
        False
    ]
    run_packed(model, some_windows([3, 4]))
    assert sums == [(7, model.config.encoder.hidden_size)] * 2 * (len(layers) - 1)
