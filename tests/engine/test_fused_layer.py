import pytest

from app.engine.add_norm_kernel import add_norm
from app.engine.engine import fuse
from app.engine.fused_layer import FusedLayer
from app.model.classifier import ENCODERS
from tests.conftest import tiny_model
from tests.model.test_classifier import assert_equal, run_packed, some_windows


@pytest.mark.parametrize("kind", ENCODERS)
def test_fused_layers_answer_as_the_librarys(kind):
    model, windows = tiny_model(kind), some_windows()
    expected = run_packed(model, windows)
    model.keep_first_tokens()
    fuse(model, add_norm)
    assert_equal(run_packed(model, windows), expected, 1e-5)


def test_all_layers_but_the_last_are_fused_and_every_sum_is_left_to_what_is_given():
    model, sums = tiny_model("bert"), []

    def counted(added, states, norm):
        sums.append(added.shape)
        return add_norm(added, states, norm)

    model.keep_first_tokens()
    fuse(model, counted)
    layers = model.encoder.encoder.layer
    assert [isinstance(layer, FusedLayer) for layer in layers] == [True] * (len(layers) - 1) + [
        False
    ]
    run_packed(model, some_windows([3, 4]))
    assert sums == [(7, model.config.encoder.hidden_size)] * 2 * (len(layers) - 1)
