"""Linear layers in 8 bit on a CPU: weights are rounded once, activations token by token.

Every token has a scale of its own, so that an ad's answer does not depend on who shares its batch.
"""

import torch
from torch import Tensor, nn

from app.engine.linears import replace_linears

PAIR_LIMIT = 127
"""The largest sum of two neighbouring weights of one sign, in steps. Processors without VNNI add
the products of two neighbouring inputs, an unsigned by a signed byte each, in 16 bits. Those of
weights of different signs work against each other, and hardly ever are two large ones of one sign
neighbours: a limit on the pairs leaves steps nearly half as wide as one on each weight, of 63.
Rounding adds half a step to each of the two, and 255 * (127 + 1) is below 2**15.
"""

STEPS = 255
"""From a token's smallest activation to its largest. They lie around 0 unevenly, behind GELU nearly
all above it: as many steps on both sides would leave up to half of them unused.
"""


class QuantizedLinear(nn.Module):
    """`nn.Linear` for inference, in 8 bit: a scale for each output, a scale and start a token."""

    def __init__(self, linear: nn.Linear) -> None:
        """Round the weights of a linear layer, which may be dropped afterwards."""
        super().__init__()
        weight = linear.weight.detach().float()
        scales = widest_pairs(weight).div_(PAIR_LIMIT)
        # Where all are zeros so is the scale, which makes 0 again of whatever 0 / 0 is rounded to.
        rounded = (weight / scales.unsqueeze(1)).round_().to(torch.int8)
        self._outputs = linear.out_features
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._scales = scales
        self._no_offsets = torch.zeros(linear.out_features, dtype=torch.int64)
        # What a start of 1 adds to each output.
        self._sums = rounded.sum(1, dtype=torch.int32) * scales
        self._bias = linear.bias.detach().float() if linear.bias is not None else torch.zeros(1)

    def forward(self, states: Tensor) -> Tensor:
        """Map float32 of shape (..., inputs) to (..., outputs)."""
        rows = states.flatten(0, -2)
        starts = rows.amin(-1, keepdim=True)
        scales = (rows.amax(-1, keepdim=True) - starts).div_(STEPS)
        # Adding a half before the cut is rounding, as no value is negative here.
        rounded = (rows - starts).div_(scales).add_(0.5).to(torch.uint8)
        product = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, 0, self._weight, self._scales, self._no_offsets, None,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        mapped = torch.addcmul(self._bias, product, scales, out=product)
        return mapped.addcmul_(starts, self._sums).view(*states.shape[:-1], self._outputs)


def widest_pairs(weight: Tensor) -> Tensor:
    """Return each output's largest sum of two neighbouring inputs' weights of one sign, unsigned.

    Neighbours are the inputs 0 and 1, 2 and 3, and so on; the sum is the larger weight alone where
    their signs differ.

    Args:
        weight: shape (outputs, inputs).
    """
    pairs = nn.functional.pad(weight, (0, weight.shape[1] % 2)).reshape(len(weight), -1, 2)
    return torch.maximum(
        pairs.clamp_min(0).sum(2).amax(1), pairs.clamp_max(0).sum(2).amin(1).neg_()
    )


def quantize(module: nn.Module) -> None:
    """Put a `QuantizedLinear` in the place of every linear layer below a module."""
    replace_linears(module, QuantizedLinear)
