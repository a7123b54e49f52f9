import numpy as np

from app.core.types import EncodedAd


def test_tokens_are_counted_over_all_windows():
    windows = (np.zeros(5, dtype=np.int32), np.zeros(3, dtype=np.int32))
    assert EncodedAd(windows).tokens == 8
