"""Linear layers for CPUs, whose weights are laid out once in the format of oneDNN.

On two cores of an EPYC a forward pass takes a tenth less time than with `nn.Linear`, which calls
another library in float32 and lays out the weights anew for every batch in 16 bit.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from app.model.first_token_layer import FirstTokenLayer

LAYOUT_ROWS = 1024
"""The number of rows of the input for which oneDNN chooses the layout of the weights."""

ROW_STEP = 32
"""Up to `LAYOUT_ROWS` rows, the number of rows is a multiple of this."""


def padded_rows(rows: int) -> int:
    """Return the number of rows to pad a batch to; from 800 rows on at most 4 % more.

    oneDNN compiles code for every number of rows and keeps it, 1.7 MB for the three shapes of a
    layer, so there have to be few numbers, and fewer still of the large ones, which are rare.
    """
    step = ROW_STEP if rows <= LAYOUT_ROWS else 4 * ROW_STEP
    return -(-rows // step) * step


def can_prepack(dtype: torch.dtype) -> bool:
    """Return whether oneDNN multiplies prepacked weights of a dtype on this processor.

    It does so in float32 on all of them; in bfloat16 it needs AVX-512 or AVX-NE-CONVERT, and raises
    a RuntimeError without.
    """
    if dtype != torch.bfloat16:
        return True
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class PrepackedLinear(nn.Module):
    """`nn.Linear` with the weights in oneDNN's layout, followed by GELU if wanted; inference only.

    Input and weights have the same dtype, float32 or bfloat16.
    """

    def __init__(self, linear: nn.Linear, *, gelu: bool = False) -> None:
        """Copy the weights of a linear layer, which can be dropped afterwards.

        Args:
            linear: the layer to replace.
            gelu: whether to apply GELU in its exact form, x times the standard normal
                distribution function of x, in the same kernel.
        """
        super().__init__()
        self._outputs, self._activation = linear.out_features, "gelu" if gelu else "none"
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), LAYOUT_ROWS)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, states: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        mapped: Tensor = torch.ops.mkldnn._linear_pointwise(
            states.flatten(0, -2), self._weight, self._bias, self._activation, [], "none"
        )
        return mapped.view(*states.shape[:-1], self._outputs)


def prepack_layers(model: Any) -> None:
    """Replace every linear layer that is computed for all tokens by a `PrepackedLinear`.

    Args:
        model: a `TwoHeadClassifier` on the CPU. Its inputs should have `padded_rows` from then on,
            or oneDNN's compiled code takes more and more memory.
    """
    for layer in model.encoder.encoder.layer:
        if isinstance(layer, FirstTokenLayer):
            replace_linears(layer.every_token, PrepackedLinear)
            continue
        if model.config.encoder.hidden_act == "gelu":
            layer.intermediate = PrepackedLinear(layer.intermediate.dense, gelu=True)
        replace_linears(layer, PrepackedLinear)


def replace_linears(module: nn.Module, make: Callable[[nn.Linear], nn.Module]) -> None:
    """Replace every `nn.Linear` below a module by what `make` returns for it.

    They are replaced one at a time, so that memory holds only one layer's weights twice.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, make(child))
        else:
            replace_linears(child, make)
