"""Compares int8 linear layers with float32, within the bound that rounding sets."""

import os
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from app.core.head_labels import HEADS
from app.core.types import EncodedAd
from app.engine.engine import Engine
from app.engine.int8_linear import QuantizedLinear, largest_pair_sums, quantize_linears
from app.model.packed_attention import PACKED
from tests.conftest import POSITIONS


def linear(inputs: int = 48, outputs: int = 40, bias: bool = True) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Linear(inputs, outputs, bias=bias)


def states(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


def bound(layer: nn.Linear, given: torch.Tensor) -> torch.Tensor:
    """Return the largest rounding error: half a step for each activation and for each weight."""
    weight = layer.weight.detach()
    weight_steps = largest_pair_sums(weight) / 127
    token_steps = (given.amax(-1, keepdim=True) - given.amin(-1, keepdim=True)) / 255
    widest = weight.abs().sum(1) + weight.shape[1] * weight_steps / 2
    return given.abs().sum(-1, keepdim=True) * weight_steps / 2 + token_steps / 2 * widest


def outlier() -> torch.Tensor:
    """Return activations with one channel 100 times as large as the rest, as encoders have."""
    given = states(1, 20, 48)
    given[:, :, 7] *= 100
    return given


@pytest.mark.parametrize(
    "given",
    [
        states(1, 20, 48),
        states(3, 5, 48),
        states(1, 48),
        outlier(),
        states(1, 20, 48) * 1e30,
        states(1, 20, 48) * 1e-20,
        states(1, 20, 48).abs(),
        -states(1, 20, 48).abs(),
        torch.cat([states(1, 10, 48) * 1000, states(1, 10, 48) / 1000], dim=1),
    ],
    ids=["random", "padded", "one", "outlier", "huge", "tiny", "above 0", "below 0", "uneven"],
)
@torch.inference_mode()
def test_a_layer_differs_from_float32_by_rounding_only(given):
    layer = linear()
    expected, answered = layer(given), QuantizedLinear(layer)(given)
    assert answered.shape == expected.shape
    assert answered.dtype == torch.float32
    assert answered.isfinite().all()
    difference = (answered - expected).abs()
    assert (difference <= bound(layer, given) * 1.0001 + 1e-6).all()
    # The bound is for the worst case; rounding errors mostly cancel.
    assert difference.mean() < 0.2 * bound(layer, given).mean() + 1e-6


@torch.inference_mode()
def test_activations_are_rounded_to_their_tokens_nearest_step():
    layer = nn.Linear(5, 1, bias=False)
    # Neighbours have different signs, so these weights are exact in int8.
    layer.weight.data = torch.tensor([[1.0, -1, 1, -1, 1]])
    quantized = QuantizedLinear(layer)
    assert quantized(torch.tensor([[255, 3.4, 3.6, 0, 100.2]])).item() == pytest.approx(356)
    assert quantized(torch.tensor([[-200, 55, 0.4, 0.6, -3.4]])).item() == pytest.approx(-259)
    # In steps of a half.
    assert quantized(torch.tensor([[127.5, 0, 0.3, 0.2, 0.3]])).item() == pytest.approx(128.5)


@torch.inference_mode()
def test_neighbours_of_different_signs_have_eight_bits_each():
    layer = nn.Linear(6, 1, bias=False)
    layer.weight.data = torch.tensor([[127.0, -127, 100, 27, -126, -1]])
    assert torch.equal(QuantizedLinear(layer)(torch.eye(6)).round().T, layer.weight)


def test_pair_sums_are_of_one_sign_and_aligned_pairs():
    weight = torch.tensor(
        [[1.0, 2, 4, -3], [-1, -4, 3, 1], [0, 9, 9, 0], [-2, 1, 1, -2], [0, 0, 0, 0]]
    )
    assert largest_pair_sums(weight).tolist() == [4, 5, 9, 2, 0]
    assert largest_pair_sums(torch.tensor([[1.0, 2, 4], [1, 2, -4]])).tolist() == [4, 4]


@torch.inference_mode()
def test_a_layer_maps_zeros_to_its_bias():
    layer = linear()
    assert torch.equal(QuantizedLinear(layer)(torch.zeros(1, 3, 48)), layer.bias.expand(1, 3, 40))
    plain = linear(bias=False)
    assert torch.equal(QuantizedLinear(plain)(torch.zeros(1, 3, 48)), torch.zeros(1, 3, 40))


@torch.inference_mode()
def test_an_output_with_zero_weights_is_its_bias():
    layer = linear()
    layer.weight.data[2] = 0
    answered = QuantizedLinear(layer)(states(1, 4, 48))
    assert torch.equal(answered[..., 2], layer.bias[2].expand(1, 4))
    assert answered.isfinite().all()


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@torch.inference_mode()
def test_nan_and_infinity_stay_non_finite_in_their_token(poison):
    """The engine refuses such a result; rounding must not turn it into a finite one."""
    given = states(1, 6, 48)
    given[0, 2, 9] = poison
    answered = QuantizedLinear(linear())(given)[0]
    assert not answered[2].isfinite().any()
    assert answered[[0, 1, 3, 4, 5]].isfinite().all()


@torch.inference_mode()
def test_a_tokens_answer_does_not_depend_on_its_neighbours():
    layer, given = QuantizedLinear(linear()), states(1, 600, 48)
    alone = torch.cat([layer(given[:, token : token + 1]) for token in range(600)], dim=1)
    for tokens in (600, 512, 257, 33, 2):
        assert torch.equal(layer(given[:, :tokens]), alone[:, :tokens])
    loud = given.clone()
    loud[:, 35:] *= 1e6
    assert torch.equal(layer(loud)[:, :35], alone[:, :35])


@torch.inference_mode()
def test_a_layer_accepts_zero_tokens():
    assert QuantizedLinear(linear())(states(1, 0, 48)).shape == (1, 0, 40)


@torch.inference_mode()
def largest_products() -> float:
    """Return the layer's largest error when neighbours' products are as large as possible."""
    numbers = torch.Generator().manual_seed(2)
    first, second = torch.randint(0, 128, (2, 32, 768), generator=numbers)
    one_sign, negative = torch.randint(0, 2, (2, 32, 768), generator=numbers).bool()
    pairs = torch.stack([first, torch.where(one_sign, 127 - first, -second)], 2)
    weight = torch.where(negative.unsqueeze(2), -pairs, pairs).flatten(1).float()
    # The step is 1, so only these weights are rounded, both up.
    weight[0] = 63.5
    layer = nn.Linear(1536, 32, bias=False)
    layer.weight.data = weight
    given = torch.randint(0, 10, (1, 64, 1536), generator=numbers).clamp_max(1) * 255.0
    expected = given.double() @ weight.double().round().T
    return float((QuantizedLinear(layer)(given) - expected).abs().max())


@pytest.mark.parametrize("instructions", ["AVX2", "DEFAULT"])
def test_the_largest_products_do_not_saturate_on_any_processor(instructions):
    """Without VNNI two products are added in 16 bits."""
    script = "from tests.engine.test_int8_linear import largest_products; print(largest_products())"
    shown = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": instructions},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    # A step of float32 for sums this large; saturated products would differ by more.
    assert float(shown.stdout) <= 4


def test_only_linear_layers_are_replaced_and_their_weights_freed():
    module = nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 4)))
    dropped = [weakref.ref(module[0].weight), weakref.ref(module[1][1].weight)]
    quantize_linears(module)
    assert isinstance(module[0], QuantizedLinear)
    assert isinstance(module[1][0], nn.LayerNorm)
    assert isinstance(module[1][1], QuantizedLinear)
    assert [one() for one in dropped] == [None, None]


# --- the engine


@pytest.fixture(scope="module")
def ads() -> list[EncodedAd]:
    random = np.random.default_rng(11)
    lengths = random.integers(3, POSITIONS, 300)
    return [EncodedAd((random.integers(5, 90, length).astype(np.int32),)) for length in lengths]


@pytest.fixture(scope="module")
def engine(checkpoint):
    return Engine(checkpoint, "cpu", "int8")


def labels(answers, head):
    return np.array([one.probabilities[head].argmax() for one in answers])


def spread(answers, others, head):
    pairs = zip(answers, others, strict=True)
    return np.array(
        [np.abs(one.probabilities[head] - other.probabilities[head]).max() for one, other in pairs]
    )


def test_int8_answers_are_close_to_float32(engine, checkpoint, ads):
    answers, exact = engine.run(ads), Engine(checkpoint, "cpu", "float32").run(ads)
    for head in HEADS:
        assert (labels(answers, head) == labels(exact, head)).mean() >= 0.98
        assert len(set(labels(exact, head))) > 1
        difference = spread(answers, exact, head)
        assert 0 < difference.mean() < 0.01


def test_an_ads_answer_does_not_depend_on_its_batch(engine, ads):
    together, alone = engine.run(ads[:60]), [engine.run([ad])[0] for ad in ads[:60]]
    for head in HEADS:
        # Attention sums in another order, which may change the rounding by one step.
        assert spread(together, alone, head).max() < 2e-3
        assert np.median(spread(together, alone, head)) < 1e-6


def test_the_engine_has_dtype_int8_and_warms_up(engine, ads):
    assert engine.dtype == "int8"
    assert engine.warm_up(ads[:4]) > 0


def test_layers_for_single_tokens_are_not_quantized(engine, checkpoint):
    exact = checkpoint.model(torch.float32, PACKED)
    exact.keep_first_tokens()
    last = f"encoder.encoder.layer.{exact.config.encoder.num_hidden_layers - 1}."
    kept = dict(engine._model.named_parameters())
    for name, parameter in exact.named_parameters():
        of_first = name.startswith(last) and "every_token" not in name
        if "encoder.encoder" not in name or "LayerNorm" in name or of_first:
            assert torch.equal(kept.pop(name), parameter)
    assert not kept
