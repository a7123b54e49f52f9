"""Encoder layers in few kernels, for a GPU: one product for query, key and value, one kernel for
each sum and norm. Otherwise as the library's, whose weights they take over.
"""

from typing import Any

import torch
from torch import Tensor, nn

from app.engine.add_norm_kernel import AddNorm
from app.model.packed_attention import packed_attention


class FusedLayer(nn.Module):
    """One of the library's encoder layers, for packed rows and inference."""

    def __init__(self, layer: Any, add_norm: AddNorm) -> None:
        """Take over a layer of any of the supported encoders.

        Args:
            layer: the library's.
            add_norm: gives the norm of a sum.
        """
        super().__init__()
        attention = layer.attention.self
        self._heads, self._scaling = attention.num_attention_heads, attention.scaling
        self._add_norm = add_norm
        self.projections = _joined([attention.query, attention.key, attention.value])
        self.attended = layer.attention.output.dense
        self.attended_norm = layer.attention.output.LayerNorm
        self.intermediate = layer.intermediate
        self.output, self.output_norm = layer.output.dense, layer.output.LayerNorm

    def forward(self, hidden_states: Tensor, *_: object, **bounds: Any) -> Tensor:
        """Map (1, tokens, hidden) to the same shape; `bounds` as `packed_attention` takes them."""
        states = hidden_states[0]
        projected = self.projections(states).view(len(states), 3, self._heads, -1)
        query, key, value = projected.permute(1, 2, 0, 3).unsqueeze(1).unbind()
        attended, _weights = packed_attention(
            self, query, key, value, None, scaling=self._scaling, **bounds
        )
        states = self._add_norm(self.attended(attended[0].flatten(1)), states, self.attended_norm)
        fed: Tensor = self.output(self.intermediate(states))
        return self._add_norm(fed, states, self.output_norm).unsqueeze(0)


def _joined(parts: list[nn.Linear]) -> nn.Linear:
    """Return one layer that computes what several would, side by side."""
    weights, biases = (torch.cat([getattr(one, of) for one in parts]) for of in ("weight", "bias"))
    joined = nn.Linear(weights.shape[1], len(weights), device="meta")
    joined.weight, joined.bias = (
        nn.Parameter(one, requires_grad=False) for one in (weights, biases)
    )
    return joined
