import numpy as np
import torch

from app.core.types import EncodedAd
from app.training.trainer import PaddingCollator, ResumableLengthSampler, WindowDataset

ADS = [
    EncodedAd((np.arange(5, dtype=np.int32), np.arange(9, dtype=np.int32))),
    EncodedAd((np.arange(7, dtype=np.int32),)),
]
TARGETS = {"job_category": np.array([2, -100]), "min_education": np.array([-100, 1])}


def test_each_window_is_a_row_with_its_ads_labels():
    windows = WindowDataset(ADS, TARGETS)
    assert windows.lengths() == [5, 9, 7]
    assert [windows[index]["labels"] for index in range(3)] == [[2, -100], [2, -100], [-100, 1]]


def test_sorted_rows_are_grouped_by_ad_in_reading_order():
    windows = WindowDataset(ADS, TARGETS, longest_first=True)
    assert windows.lengths() == [9, 7, 5]
    by_ad = windows.by_ad(np.array([[9.0], [7.0], [5.0]], dtype=np.float32))
    assert [rows.tolist() for rows in by_ad] == [[[5.0], [9.0]], [[7.0]]]


def test_a_batch_is_padded_to_its_longest_window():
    windows = WindowDataset(ADS, TARGETS)
    batch = PaddingCollator(pad_id=77)([windows[0], windows[2]])
    assert batch["input_ids"].tolist() == [[0, 1, 2, 3, 4, 77, 77], [0, 1, 2, 3, 4, 5, 6]]
    assert batch["attention_mask"].sum(dim=1).tolist() == [5, 7]
    assert batch["labels"].dtype == torch.int64


def test_the_batch_order_depends_on_the_epoch_and_groups_lengths():
    lengths = torch.randint(1, 100, (400,), generator=torch.Generator().manual_seed(0)).tolist()
    sampler = ResumableLengthSampler(lengths, batch_size=8, seed=1)
    first = list(sampler)
    assert sorted(first) == list(range(400))
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    spread = [np.ptp([lengths[i] for i in first[at : at + 8]]) for at in range(0, 400, 8)]
    assert np.mean(spread) < 10
