"""Linear layers in 8 bit on a CPU: weights are rounded once, activations token by token.

Every token has a scale of its own, so that an ad's answer does not depend on who shares its batch.
"""

import torch
from torch import Tensor, nn

WEIGHT_LIMIT = 63
"""The largest rounded weight. Processors without VNNI add two products of an unsigned and a signed
byte in 16 bits, which saturate unless the signed one has 7: 2 * 255 * 63 is below 2**15.
"""

ACTIVATION_LIMIT = 127
ZERO_POINT = 128
"""What 0 becomes among the unsigned bytes of the activations."""

BLOCK_ROWS = 256
ROWS_STEP = 32
"""The library compiles code for every number of rows it meets, and keeps 0.4 MB a layer's shape and
number: they are met in blocks, the last of them filled up, so that there are few.
"""


class QuantizedLinear(nn.Module):
    """`nn.Linear` for inference, in 8 bit: symmetric, a scale for each output and each token."""

    def __init__(self, linear: nn.Linear) -> None:
        """Round the weights of a linear layer, which may be dropped afterwards."""
        super().__init__()
        weight = linear.weight.detach().float()
        scales = weight.abs().amax(1).div_(WEIGHT_LIMIT)
        # Where all are zeros so is the scale, which makes 0 again of whatever 0 / 0 is rounded to.
        rounded = (weight / scales.unsqueeze(1)).round_().to(torch.int8)
        self._outputs = linear.out_features
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._scales = scales
        self._no_offsets = torch.zeros(linear.out_features, dtype=torch.int64)
        # What the activations' zero point adds to each product.
        self._surplus = rounded.sum(1, dtype=torch.int32) * scales * -ZERO_POINT
        self._bias = linear.bias.detach().float() if linear.bias is not None else torch.zeros(1)

    def forward(self, states: Tensor) -> Tensor:
        """Map float32 of shape (..., inputs) to (..., outputs)."""
        rows = states.flatten(0, -2)
        mapped = rows.new_empty(len(rows), self._outputs)
        for start in range(0, len(rows), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            self._map(rows[block], mapped[block])
        return mapped.view(*states.shape[:-1], self._outputs)

    def _map(self, rows: Tensor, into: Tensor) -> None:
        # By far the fastest way to the largest magnitude: a norm takes 20 times as long.
        scales = torch.maximum(rows.amax(-1, keepdim=True), rows.amin(-1, keepdim=True).neg_())
        scales.div_(ACTIVATION_LIMIT)
        # What fills the last rows is multiplied too, and then left out.
        filled = -(-len(rows) // ROWS_STEP) * ROWS_STEP
        rounded = torch.empty(filled, rows.shape[1], dtype=torch.uint8)
        # Adding a half before the cut is rounding, as no value is negative here.
        rounded[: len(rows)] = (rows / scales).add_(ZERO_POINT + 0.5)
        product = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, 0, self._weight, self._scales, self._no_offsets, self._surplus,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        torch.addcmul(self._bias, product[: len(rows)], scales, out=into)


def quantize(module: nn.Module) -> None:
    """Put a `QuantizedLinear` in the place of every linear layer below a module.

    One at a time: no more than one layer's float32 weights are there beside its rounded ones.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, QuantizedLinear(child))
        else:
            quantize(child)
