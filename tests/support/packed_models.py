"""Runs a two-head model on the same windows packed and padded, and compares the logits."""

import numpy as np
import torch

from app.core.types import EncodedAd
from app.engine.packing import pack
from app.model.packed_attention import PACKED

LENGTHS = [5, 64, 2, 33, 64]
OUTPUTS = ("job_category_logits", "min_education_logits")


def some_windows(lengths=LENGTHS, lowest=5) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.integers(lowest, 400, length, dtype=np.int32) for length in lengths]


@torch.inference_mode()
def run_packed(model, windows):
    model.set_attn_implementation(PACKED)
    batch = pack([EncodedAd(tuple(windows))], model.config.position_start())
    return model(batch.input_ids, None, batch.position_ids, batch.cu_seq_lens, batch.longest)


@torch.inference_mode()
def run_padded(model, windows):
    """Run as training does: padded, with SDPA, the encoder's own positions and a mask."""
    model.set_attn_implementation("sdpa")
    pad = model.config.encoder.pad_token_id
    longest = max(len(window) for window in windows)
    ids = torch.full((len(windows), longest), pad)
    mask = torch.zeros_like(ids)
    for row, window in enumerate(windows):
        ids[row, : len(window)] = torch.from_numpy(window)
        mask[row, : len(window)] = 1
    return model(ids, attention_mask=mask)


def assert_same_logits(given, expected, tolerance):
    for name in OUTPUTS:
        torch.testing.assert_close(given[name], expected[name], atol=tolerance, rtol=0)
