import logging

import pytest
import torch
from torch import nn

from app.engine.add_norm_kernel import add_norm, compiled_add_norm

CUDA = torch.cuda.is_available()


def test_add_norm_is_the_layer_norm_of_the_sum():
    generator = torch.Generator().manual_seed(0)
    added, states = torch.randn(2, 5, 16, generator=generator)
    norm = nn.LayerNorm(16)
    torch.testing.assert_close(add_norm(added, states, norm), norm(added + states))


def test_a_width_not_divisible_by_8_is_left_to_torch():
    assert compiled_add_norm(12, torch.float16) is add_norm


@pytest.mark.skipif(CUDA, reason="needs a machine without a CUDA device")
def test_a_failed_compilation_falls_back_to_torch_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        assert compiled_add_norm(16, torch.float16) is add_norm
    assert "using torch's kernels" in caplog.text


@pytest.mark.skipif(not CUDA, reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("width", [8, 312, 384, 768, 1024])
@torch.inference_mode()
def test_the_kernel_is_at_least_as_exact_as_torch(width, dtype):
    norm = nn.LayerNorm(width, device="cuda", dtype=dtype)
    norm.weight.copy_(torch.randn(width))
    norm.bias.copy_(torch.randn(width))
    added, states = 3 * torch.randn(2, 1001, width, device="cuda", dtype=dtype)
    exact = add_norm(added.double(), states.double(), norm.double())
    norm.to(dtype)
    given = compiled_add_norm(width, dtype)(added, states, norm)
    torchs = add_norm(added, states, norm)
    assert (given - exact).abs().max() <= (torchs - exact).abs().max()
    assert (given - exact).abs().mean() < (torchs - exact).abs().mean()
