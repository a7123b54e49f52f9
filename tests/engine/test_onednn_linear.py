import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import nn

from app.engine.devices import HAS_ONEDNN
from app.engine.onednn_linear import PrepackedLinear, padded_rows, prepack, prepackable
from app.model.classifier import ENCODERS
from tests.conftest import tiny_model
from tests.model.test_classifier import assert_equal, run_packed, some_windows

pytestmark = pytest.mark.skipif(not HAS_ONEDNN, reason="torch was built without oneDNN")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_it_maps_as_the_layer_it_takes_over(dtype, bias):
    if not prepackable(dtype):
        pytest.skip("this processor cannot; the engine then leaves the layers as they are")
    torch.manual_seed(0)
    linear, states = nn.Linear(24, 40, bias=bias, dtype=dtype), torch.randn(1, 32, 24, dtype=dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    expected = linear(states)
    for given, wanted in (
        (PrepackedLinear(linear)(states), expected),
        (PrepackedLinear(linear, gelu=True)(states), F.gelu(expected)),
    ):
        assert (given.dtype, given.shape) == (dtype, (1, 32, 40))
        torch.testing.assert_close(given, wanted, atol=tolerance, rtol=0)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("kind", ENCODERS)
def test_a_prepacked_model_answers_as_before(kind, activation):
    model, windows = tiny_model(kind, hidden_act=activation), some_windows()
    model.keep_first_tokens()
    expected = run_packed(model, windows)
    prepack(model)
    assert_equal(run_packed(model, windows), expected, 1e-5)
    left = {name for name, part in model.encoder.encoder.named_modules() if type(part) is nn.Linear}
    last = f"layer.{model.config.encoder.num_hidden_layers - 1}."
    assert left
    assert all(name.startswith(last) for name in left)


def test_rows_are_filled_up_to_few_numbers_and_by_little():
    counts = [padded_rows(rows) for rows in range(1, 2049)]
    assert [padded_rows(rows) for rows in (1, 32, 33, 1024, 1025)] == [32, 32, 64, 1024, 1152]
    assert len(set(counts)) == 40
    assert all(rows <= count for rows, count in enumerate(counts, start=1))
    assert (
        max(count / rows for rows, count in enumerate(counts, start=1) if 800 < rows <= 1024) < 1.04
    )
