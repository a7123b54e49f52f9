"""Many ads' windows in one row without padding, on the host."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from app.records import Encoded


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch laid end to end on the host: ids and positions (1, tokens), bounds (windows + 1,)."""

    input_ids: Tensor
    position_ids: Tensor
    cu_seq_lens: Tensor
    longest: int

    @property
    def tokens(self) -> int:
        """How many tokens the row has."""
        return self.input_ids.shape[1]

    @property
    def windows(self) -> int:
        """How many windows lie in it."""
        return len(self.cu_seq_lens) - 1


def pack(batch: Sequence[Encoded], position_start: int = 0) -> Packed:
    """Lay all windows of all ads end to end; positions restart with every window."""
    windows = [window for encoded in batch for window in encoded.windows]
    lengths = [len(window) for window in windows]
    positions = [np.arange(position_start, position_start + length) for length in lengths]
    bounds = np.zeros(len(windows) + 1, dtype=np.int32)
    np.cumsum(lengths, out=bounds[1:])
    return Packed(
        input_ids=torch.from_numpy(np.concatenate(windows).astype(np.int64)).unsqueeze(0),
        position_ids=torch.from_numpy(np.concatenate(positions)).unsqueeze(0),
        cu_seq_lens=torch.from_numpy(bounds),
        longest=max(lengths),
    )
