"""Linear layers of a CPU whose weights are laid out once as oneDNN multiplies them.

On two cores of an EPYC a pass is a tenth faster than with torch's own call, which hands float32 to
another library and, in 16 bit, lays out the weights anew for every batch.
"""

from typing import Any

import torch
from torch import Tensor, nn

from app.engine.linears import replace_linears
from app.model.first_token_layer import FirstTokenLayer

USUAL_ROWS = 1024
"""For how many rows the layout is chosen."""

STEP = 32


def padded_rows(rows: int) -> int:
    """Return to how many rows a batch is filled up: by 4 % at most, from 800 rows on.

    The library compiles code for every number of rows that it meets, and keeps it: 1.7 MB for the
    three shapes of a layer. So there are few numbers, and fewer still of the rare large ones.
    """
    step = STEP if rows <= USUAL_ROWS else 4 * STEP
    return -(-rows // step) * step


def prepackable(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN multiplies prepacked weights of a dtype on this processor.

    It does so in float32 on all of them; in bfloat16 it needs AVX-512 or AVX-NE-CONVERT, and raises
    a RuntimeError without.
    """
    if dtype != torch.bfloat16:
        return True
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class PrepackedLinear(nn.Module):
    """`nn.Linear` for inference on a CPU, with GELU in the same pass where it is asked for."""

    def __init__(self, linear: nn.Linear, *, gelu: bool = False) -> None:
        """Take over a linear layer of float32 or bfloat16.

        Args:
            linear: it may be dropped afterwards, its weights are copied.
            gelu: follow up with the exact GELU, x times the normal distribution's integral up to x.
        """
        super().__init__()
        self._outputs, self._after = linear.out_features, "gelu" if gelu else "none"
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), USUAL_ROWS)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, states: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        mapped: Tensor = torch.ops.mkldnn._linear_pointwise(
            states.flatten(0, -2), self._weight, self._bias, self._after, [], "none"
        )
        return mapped.view(*states.shape[:-1], self._outputs)


def prepack(model: Any) -> None:
    """Put a `PrepackedLinear` in the place of every linear layer that meets every token.

    Args:
        model: a `TwoHeadClassifier` on the CPU, whose rows are `padded_rows` from now on.
    """
    for layer in model.encoder.encoder.layer:
        if isinstance(layer, FirstTokenLayer):
            replace_linears(layer.every_token, PrepackedLinear)
            continue
        if model.config.encoder.hidden_act == "gelu":
            layer.intermediate = PrepackedLinear(layer.intermediate.dense, gelu=True)
        replace_linears(layer, PrepackedLinear)
