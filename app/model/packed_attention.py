"""Attention over a packed row: windows laid end to end, each of which attends to itself only.

It is registered with transformers under the name `PACKED`, so the encoders of that library can be
used unchanged: they pass query, key, value and the bounds of the windows to `packed_attention`.
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
    """Compute the attention within each window of one packed row; for inference only.

    Args:
        query: shape (1, heads, queries, head_dim).
        key: shape (1, heads, tokens, head_dim).
        value: as `key`.
        attention_mask: has to be None; the bounds separate the windows.
        cu_seq_lens_q: the bounds of the windows' queries, int32 of shape (windows + 1,): window i
            has the queries from element i up to element i + 1.
        cu_seq_lens_k: the bounds of the windows' tokens, likewise.
        max_length_q: the largest number of queries of a window.
        max_length_k: tokens of the longest window.
        scaling: factor on the scores; None for 1 / sqrt(head_dim).
        dropout: has to be 0.

    Returns:
        The attention output of shape (1, queries, heads, head_dim), and None in place of the
        attention weights.

    Raises:
        ValueError: a mask or dropout is given.
    """
    if attention_mask is not None or dropout:
        raise ValueError("packed attention takes neither a mask nor dropout")
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        bounds = (cu_seq_lens_q, cu_seq_lens_k, max_length_q, max_length_k)
        return _one_kernel(query, key, value, bounds, scaling), None
    return _window_by_window(query, key, value, cu_seq_lens_q, cu_seq_lens_k, scaling), None


def _one_kernel(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: tuple[Tensor, Tensor, int, int],
    scaling: float | None,
) -> Tensor:
    """Run one variable-length attention kernel over all windows; on CUDA in 16 bit only."""
    # Imported here, because the module registers CUDA operators, which no CPU process needs.
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = (tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value))
    attended = varlen_attn(query, key, value, *bounds, scale=scaling)
    return cast(Tensor, attended).unsqueeze(0)


def _window_by_window(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_bounds: Tensor,
    key_bounds: Tensor,
    scaling: float | None,
) -> Tensor:
    """Call the attention once a window; for any device and dtype."""
    attended = torch.empty_like(query)
    # Padding after the last window goes through the following layers too. Zeros keep NaN and
    # infinity, which uninitialized memory may hold, out of them.
    attended[:, :, query_bounds[-1] :] = 0
    for queries, keys in zip(_slices(query_bounds), _slices(key_bounds), strict=True):
        attended[:, :, queries] = F.scaled_dot_product_attention(
            query[:, :, queries], key[:, :, keys], value[:, :, keys], scale=scaling
        )
    return attended.transpose(1, 2)


def _slices(bounds: Tensor) -> list[slice]:
    return [slice(start, end) for start, end in pairwise(bounds.tolist())]


AttentionInterface.register(PACKED, packed_attention)
