"""Encoder layers in fewer kernels, for CUDA in 16 bit.

Query, key and value are one matrix product, and each residual sum is one kernel with the layer
norm that follows it. The outputs are those of the transformers layers, whose weights are used.
"""

from typing import Any

import torch
from torch import Tensor, nn

from app.engine.add_norm_kernel import AddNorm
from app.model.packed_attention import packed_attention


class FusedLayer(nn.Module):
    """An encoder layer in fewer kernels; for packed rows, and for inference only."""

    def __init__(self, layer: Any, add_norm: AddNorm) -> None:
        """Make the layer from one of transformers.

        Args:
            layer: of any supported encoder type; its weights are shared or copied.
            add_norm: computes the layer norm of a sum.
        """
        super().__init__()
        attention = layer.attention.self
        self._heads, self._scaling = attention.num_attention_heads, attention.scaling
        self._add_norm = add_norm
        self.projections = _concatenated([attention.query, attention.key, attention.value])
        self.attention_output = layer.attention.output.dense
        self.attention_norm = layer.attention.output.LayerNorm
        self.intermediate = layer.intermediate
        self.output, self.output_norm = layer.output.dense, layer.output.LayerNorm

    def forward(self, hidden_states: Tensor, *_: object, **bounds: Any) -> Tensor:
        """Map (1, tokens, hidden) to the same shape; `bounds` are those of `packed_attention`."""
        states = hidden_states[0]
        projected = self.projections(states).view(len(states), 3, self._heads, -1)
        query, key, value = projected.permute(1, 2, 0, 3).unsqueeze(1).unbind()
        attended, _weights = packed_attention(
            self, query, key, value, None, scaling=self._scaling, **bounds
        )
        attended = self.attention_output(attended[0].flatten(1))
        states = self._add_norm(attended, states, self.attention_norm)
        fed_forward: Tensor = self.output(self.intermediate(states))
        return self._add_norm(fed_forward, states, self.output_norm).unsqueeze(0)


def fuse_layers(model: Any, add_norm: AddNorm) -> None:
    """Replace all encoder layers but the last, which computes few tokens, by a `FusedLayer`.

    Args:
        model: a `TwoHeadClassifier`, which takes packed input only from then on.
        add_norm: computes the layer norm of a sum.
    """
    layers = model.encoder.encoder.layer
    for index in range(len(layers) - 1):
        layers[index] = FusedLayer(layers[index], add_norm)


def _concatenated(linears: list[nn.Linear]) -> nn.Linear:
    """Return one linear layer whose output is the concatenated outputs of several."""
    weight = torch.cat([linear.weight for linear in linears])
    bias = torch.cat([linear.bias for linear in linears])
    # On the meta device, so that no weights are allocated that are replaced at once.
    joined = nn.Linear(weight.shape[1], len(weight), device="meta")
    joined.weight = nn.Parameter(weight, requires_grad=False)
    joined.bias = nn.Parameter(bias, requires_grad=False)
    return joined
