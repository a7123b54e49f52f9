"""Many ads' windows in one row without padding, on the host."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.core.types import Encoded


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch laid end to end on the host: ids and positions (1, tokens), bounds (windows + 1,).

    Tokens behind the last bound belong to no window and fill the row up.
    """

    input_ids: Tensor
    position_ids: Tensor
    cu_seq_lens: Tensor
    longest: int

    @property
    def tokens(self) -> int:
        """How many tokens the row has, with those that fill it up."""
        return self.input_ids.shape[1]

    @property
    def windows(self) -> int:
        """How many windows lie in it."""
        return len(self.cu_seq_lens) - 1


def pack(
    batch: Sequence[Encoded], position_start: int = 0, filled: Callable[[int], int] | None = None
) -> Packed:
    """Lay all windows of all ads end to end; positions restart with every window.

    Args:
        batch: the ads.
        position_start: the position of a window's first token.
        filled: gives the row's length for a number of tokens; just these where None.
    """
    windows = [window for encoded in batch for window in encoded.windows]
    lengths = [len(window) for window in windows]
    bounds = np.zeros(len(windows) + 1, dtype=np.int32)
    np.cumsum(lengths, out=bounds[1:])
    tokens = int(bounds[-1])
    filling = filled(tokens) - tokens if filled else 0
    # What fills up stands at the first position: it may be longer than any window.
    positions = [*map(np.arange, lengths), np.zeros(filling, dtype=np.int64)]
    return Packed(
        input_ids=_row([*windows, np.zeros(filling, dtype=np.int32)]),
        position_ids=_row(positions) + position_start,
        cu_seq_lens=torch.from_numpy(bounds),
        longest=max(lengths),
    )


def _row(parts: Sequence[npt.NDArray[np.integer]]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64)).unsqueeze(0)
