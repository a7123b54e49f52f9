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
    cu_seq_lens_k: Tensor,
    max_length_q: int,
    max_length_k: int,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Tensor, None]:
    """Attend inside each window of one packed row; for inference.

    Args:
        query: shape (1, heads, queries, head_dim).
        key: shape (1, heads, tokens, head_dim).
        value: as `key`.
        attention_mask: has to be None, the bounds take its place.
        cu_seq_lens_q: the bounds of the windows' queries, int32 of shape (windows + 1,), 0 first,
            the number of queries last.
        cu_seq_lens_k: the bounds of the windows' tokens, likewise.
        max_length_q: the most queries of a window.
        max_length_k: the longest window's tokens.
        scaling: factor on the scores, 1 / sqrt(head_dim) where None.
        dropout: has to be 0.

    Returns:
        The attended values of shape (1, queries, heads, head_dim), and None for the weights.
    """
    if attention_mask is not None or dropout:
        raise ValueError("packed attention takes neither a mask nor dropout")
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        bounds = (cu_seq_lens_q, cu_seq_lens_k, max_length_q, max_length_k)
        return _flash(query, key, value, bounds, scaling), None
    return _loop(query, key, value, cu_seq_lens_q, cu_seq_lens_k, scaling), None


def _flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: tuple[Tensor, Tensor, int, int],
    scaling: float | None,
) -> Tensor:
    """Run one kernel over all windows; CUDA in 16 bit only."""
    # Imported here: the module registers CUDA operators, which a CPU process does not need.
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = (tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value))
    attended = varlen_attn(query, key, value, *bounds, scale=scaling)
    return cast(Tensor, attended).unsqueeze(0)


def _loop(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_bounds: Tensor,
    bounds: Tensor,
    scaling: float | None,
) -> Tensor:
    """One attention call a window: no padding is computed, and any device and dtype will do."""
    attended = torch.empty_like(query)
    # What fills a row up is computed with the rest, so it has to be numbers; nobody reads it.
    attended[:, :, query_bounds[-1] :] = 0
    for asking, asked in zip(_slices(query_bounds), _slices(bounds), strict=True):
        attended[:, :, asking] = F.scaled_dot_product_attention(
            query[:, :, asking], key[:, :, asked], value[:, :, asked], scale=scaling
        )
    return attended.transpose(1, 2)


def _slices(bounds: Tensor) -> list[slice]:
    return [slice(start, end) for start, end in pairwise(bounds.tolist())]


AttentionInterface.register(PACKED, packed_attention)
