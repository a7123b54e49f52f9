import numpy as np
import torch

from app.core.types import EncodedAd
from app.engine.packing import pack


def test_windows_lie_end_to_end_and_positions_restart():
    one = EncodedAd((np.array([7, 8, 9], dtype=np.int32), np.array([5], dtype=np.int32)))
    other = EncodedAd((np.array([6, 4], dtype=np.int32),))
    packed = pack([one, other])
    assert packed.input_ids.tolist() == [[7, 8, 9, 5, 6, 4]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 0, 0, 1]]
    assert packed.cu_seq_lens.tolist() == [0, 3, 4, 6]
    assert packed.longest == 3
    assert (packed.input_ids.dtype, packed.position_ids.dtype) == (torch.int64, torch.int64)
    assert packed.cu_seq_lens.dtype == torch.int32


def test_positions_start_at_the_encoders_first():
    assert pack(
        [EncodedAd((np.array([7, 8, 9]), np.array([5, 4])))], position_start=2
    ).position_ids.tolist() == [[2, 3, 4, 2, 3]]


def test_a_row_is_padded_behind_the_last_window():
    batch = [EncodedAd((np.array([7, 8, 9]), np.array([5, 4])))]
    packed = pack(batch, position_start=2, row_length=lambda tokens: tokens + 3)
    assert (packed.tokens, packed.windows, packed.cu_seq_lens.tolist()) == (8, 2, [0, 3, 5])
    assert packed.position_ids.tolist() == [[2, 3, 4, 2, 3, 2, 2, 2]]
    assert pack(batch).tokens == 5
