"""Linear layers in int8 for CPUs: weights are quantized at load, activations token by token.

Every token has its own scale, so an ad's answer does not depend on the other ads of its batch.
"""

import torch
from torch import Tensor, nn

from app.engine.onednn_linear import replace_linears

PAIR_LIMIT = 127
"""The largest sum of two neighbouring weights of the same sign, in quantization steps.

Processors without VNNI add the products of two neighbouring inputs, each an unsigned byte times a
signed byte, in 16 bits, which must not saturate. A limit of 63 on every single weight would do, but
products of weights with different signs partly cancel, and two large weights of the same sign are
hardly ever neighbours; so a limit on the pairs allows steps nearly half as wide. Rounding adds up
to half a step to each weight of a pair, and 255 * (127 + 1) is below 2**15.
"""

ACTIVATION_STEPS = 255
"""Quantization steps from a token's smallest activation to its largest.

Activations are not symmetric around 0, and nearly all positive after GELU: with a range symmetric
around 0 up to half of the steps would be unused.
"""


class QuantizedLinear(nn.Module):
    """`nn.Linear` in int8, for inference only.

    The weights have one scale an output; the activations have a scale and an offset a token, its
    smallest activation. The linear layer it is made from can be dropped afterwards.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scales = largest_pair_sums(weight).div_(PAIR_LIMIT)
        # If all weights of an output are 0 then so is its scale, and 0 / 0 is NaN; whatever integer
        # NaN is rounded to, times the scale it is 0 again.
        rounded = (weight / scales.unsqueeze(1)).round_().to(torch.int8)
        self._outputs = linear.out_features
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._scales = scales
        self._zero_points = torch.zeros(linear.out_features, dtype=torch.int64)
        # What an offset of 1 adds to each output.
        self._offset_terms = rounded.sum(1, dtype=torch.int32) * scales
        self._bias = linear.bias.detach().float() if linear.bias is not None else torch.zeros(1)

    def forward(self, states: Tensor) -> Tensor:
        """Map float32 of shape (..., inputs) to (..., outputs)."""
        rows = states.flatten(0, -2)
        offsets = rows.amin(-1, keepdim=True)
        scales = (rows.amax(-1, keepdim=True) - offsets).div_(ACTIVATION_STEPS)
        # No value is negative here, so adding a half and truncating rounds to the nearest step.
        rounded = (rows - offsets).div_(scales).add_(0.5).to(torch.uint8)
        product = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, 0, self._weight, self._scales, self._zero_points, None,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        mapped = torch.addcmul(self._bias, product, scales, out=product)
        return mapped.addcmul_(offsets, self._offset_terms).view(*states.shape[:-1], self._outputs)


def largest_pair_sums(weight: Tensor) -> Tensor:
    """Return the largest magnitude of a pair's sum for each output, of shape (outputs,).

    The inputs 0 and 1 are a pair, 2 and 3, and so on. If the signs of a pair's weights differ, only
    the larger magnitude counts.

    Args:
        weight: shape (outputs, inputs).
    """
    pairs = nn.functional.pad(weight, (0, weight.shape[1] % 2)).reshape(len(weight), -1, 2)
    return torch.maximum(
        pairs.clamp_min(0).sum(2).amax(1), pairs.clamp_max(0).sum(2).amin(1).neg_()
    )


def quantize_linears(module: nn.Module) -> None:
    """Replace every linear layer below a module by a `QuantizedLinear`."""
    replace_linears(module, QuantizedLinear)
