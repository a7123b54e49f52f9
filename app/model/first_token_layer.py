"""The last encoder layer of a packed pass, computed for each window's first token only.

The pooler reads only a window's first token, which depends on the other tokens only through
their keys and values. A layer has as many weights as twelve matrices of (hidden, hidden). Here
only two of them (key and value) are multiplied with every token; the other ten (query, attention
output, and eight of the feed-forward part) with one token a window. The logits are the same.
"""

from typing import Any

import torch
from torch import Tensor, nn

from app.model.packed_attention import packed_attention


class FirstTokenLayer(nn.Module):
    """An encoder layer that computes the first token of every packed window.

    It shares the weights of the transformers layer it is made from, which may be of any supported
    encoder type.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        attention = layer.attention.self
        self._heads, self._scaling = attention.num_attention_heads, attention.scaling
        self.query = attention.query
        self.every_token = nn.ModuleDict({"key": attention.key, "value": attention.value})
        self.attention_output = layer.attention.output
        self.intermediate, self.output = layer.intermediate, layer.output

    def forward(
        self,
        hidden_states: Tensor,
        *_: object,
        cu_seq_lens_q: Tensor,
        max_length_q: int,
        **__: object,
    ) -> Tensor:
        """Return the states of the first tokens, of shape (1, windows, hidden).

        Args:
            hidden_states: output of the layer before, of shape (1, tokens, hidden).
            cu_seq_lens_q: the windows' bounds, int32 of shape (windows + 1,).
            max_length_q: tokens of the longest window.
        """
        first = hidden_states[:, cu_seq_lens_q[:-1]]
        attended, _weights = packed_attention(
            self,
            self._split_heads(self.query(first)),
            self._split_heads(self.every_token["key"](hidden_states)),
            self._split_heads(self.every_token["value"](hidden_states)),
            None,
            cu_seq_lens_q=torch.arange(
                len(cu_seq_lens_q), dtype=cu_seq_lens_q.dtype, device=cu_seq_lens_q.device
            ),
            cu_seq_lens_k=cu_seq_lens_q,
            max_length_q=1,
            max_length_k=max_length_q,
            scaling=self._scaling,
        )
        states = self.attention_output(attended.flatten(2), first)
        mapped: Tensor = self.output(self.intermediate(states), states)
        return mapped

    def _split_heads(self, states: Tensor) -> Tensor:
        return states.view(1, states.shape[1], self._heads, -1).transpose(1, 2)
