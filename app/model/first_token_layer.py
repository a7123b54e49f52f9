"""The last layer of a packed pass, for the only tokens that anybody reads: each window's first.

The pooler reads a window's first token, and a token depends on the others through their keys and
values alone. So of the last layer's twelve square matrices (query, key, value, output, and the
feed-forward part four times as wide, up and down), two are multiplied with every token and ten with
one a window. The answer is the same.
"""

from typing import Any

import torch
from torch import Tensor, nn

from app.model.packed_attention import packed_attention


class FirstTokenLayer(nn.Module):
    """The parts of one encoder layer, computing the first token of every packed window."""

    def __init__(self, layer: Any) -> None:
        """Take over the parts of the library's layer, of any of the supported encoders."""
        super().__init__()
        attention = layer.attention.self
        self._heads, self._scaling = attention.num_attention_heads, attention.scaling
        self.query = attention.query
        self.every_token = nn.ModuleDict({"key": attention.key, "value": attention.value})
        self.attended = layer.attention.output
        self.intermediate, self.output = layer.intermediate, layer.output

    def forward(
        self,
        hidden_states: Tensor,
        *_: object,
        cu_seq_lens_q: Tensor,
        max_length_q: int,
        **__: object,
    ) -> Tensor:
        """Map (1, tokens, hidden) to the first tokens' (1, windows, hidden).

        Args:
            hidden_states: of the layer before, for all tokens.
            cu_seq_lens_q: int32 of shape (windows + 1,), 0 first, the number of tokens last.
            max_length_q: the longest window's tokens.
        """
        first = hidden_states[:, cu_seq_lens_q[:-1]]
        attended, _weights = packed_attention(
            self,
            self._by_head(self.query(first)),
            self._by_head(self.every_token["key"](hidden_states)),
            self._by_head(self.every_token["value"](hidden_states)),
            None,
            cu_seq_lens_q=torch.arange(
                len(cu_seq_lens_q), dtype=cu_seq_lens_q.dtype, device=cu_seq_lens_q.device
            ),
            cu_seq_lens_k=cu_seq_lens_q,
            max_length_q=1,
            max_length_k=max_length_q,
            scaling=self._scaling,
        )
        states = self.attended(attended.flatten(2), first)
        mapped: Tensor = self.output(self.intermediate(states), states)
        return mapped

    def _by_head(self, states: Tensor) -> Tensor:
        return states.view(1, states.shape[1], self._heads, -1).transpose(1, 2)
