"""Attention over a packed row: many windows end to end, each attending to itself only.

Registered with transformers under `PACKED`, so that the encoder stays the library's own: it hands
the attention its query, key and value and passes the windows' bounds through.
"""

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own convention)
from torch import Tensor, nn
from transformers import AttentionInterface

PACKED = "doppelkopf_packed"


def packed_attention(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Tensor, None]:
    """Attend inside each window of one packed row; for inference.

    Args:
        query: shape (1, heads, tokens, head_dim); `key` and `value` likewise.
        key: see `query`.
        value: see `query`.
        attention_mask: has to be None, the bounds take its place.
        cu_seq_lens_q: int32 of shape (windows + 1,), 0 first, the number of tokens last.
        max_length_q: the longest window's tokens.
        scaling: factor on the scores, 1 / sqrt(head_dim) where None.
        dropout: has to be 0.

    Returns:
        The attended values of shape (1, tokens, heads, head_dim), and None for the weights.
    """
    if attention_mask is not None or dropout:
        raise ValueError("packed attention takes neither a mask nor dropout")
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        return _flash(query, key, value, cu_seq_lens_q, max_length_q, scaling), None
    return _loop(query, key, value, cu_seq_lens_q, scaling), None


def _flash(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int, scaling: float | None
) -> Tensor:
    """Run one kernel over all windows; CUDA in 16 bit only."""
    # Imported here: the module registers CUDA operators, which a CPU process does not need.
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = (tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value))
    attended = varlen_attn(query, key, value, bounds, bounds, longest, longest, scale=scaling)
    return cast(Tensor, attended).unsqueeze(0)


def _loop(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, scaling: float | None
) -> Tensor:
    """One attention call a window: no padding is computed, and any device and dtype will do."""
    attended = torch.empty_like(query)
    for start, end in pairwise(bounds.tolist()):
        window = slice(start, end)
        attended[:, :, window] = F.scaled_dot_product_attention(
            query[:, :, window], key[:, :, window], value[:, :, window], scale=scaling
        )
    return attended.transpose(1, 2)


AttentionInterface.register(PACKED, packed_attention)
