"""Packs the windows of many ads into one row without padding between them, on the host."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.core.types import EncodedAd


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """A batch as one row of windows laid end to end, on the host.

    `input_ids` and `position_ids` are int64 of shape (1, tokens); `cu_seq_lens` are the windows'
    bounds, int32 of shape (windows + 1,); `longest` is the number of tokens of the longest window.
    Tokens after the last bound are padding and belong to no window.
    """

    input_ids: Tensor
    position_ids: Tensor
    cu_seq_lens: Tensor
    longest: int

    @property
    def tokens(self) -> int:
        """The length of the row, padding included."""
        return self.input_ids.shape[1]

    @property
    def windows(self) -> int:
        """The number of windows."""
        return len(self.cu_seq_lens) - 1


def pack(
    batch: Sequence[EncodedAd],
    position_start: int = 0,
    row_length: Callable[[int], int] | None = None,
) -> PackedBatch:
    """Lay the windows of all ads end to end; positions restart with every window.

    Args:
        batch: the ads, in order; at least one.
        position_start: the position id of a window's first token.
        row_length: maps the number of tokens to the length of the padded row; None for no padding.
    """
    windows = [window for encoded in batch for window in encoded.windows]
    lengths = [len(window) for window in windows]
    bounds = np.zeros(len(windows) + 1, dtype=np.int32)
    np.cumsum(lengths, out=bounds[1:])
    tokens = int(bounds[-1])
    padding = row_length(tokens) - tokens if row_length else 0
    # All padding has the first position, because it may be longer than the encoder has positions.
    positions = [*map(np.arange, lengths), np.zeros(padding, dtype=np.int64)]
    return PackedBatch(
        input_ids=_row([*windows, np.zeros(padding, dtype=np.int32)]),
        position_ids=_row(positions) + position_start,
        cu_seq_lens=torch.from_numpy(bounds),
        longest=max(lengths),
    )


def _row(parts: Sequence[npt.NDArray[np.integer]]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64)).unsqueeze(0)
