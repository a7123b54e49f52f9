import numpy as np

from app.core.types import Ad, EncodedAd
from app.data.token_batches import batches, run_rows_in_batches
from tests.support.ad_files import LABELLED_ADS


def ad(*lengths: int) -> EncodedAd:
    """Return an ad with a window of each length."""
    return EncodedAd(tuple(np.full(length, 7, dtype=np.int32) for length in lengths))


def test_batches_keep_order_and_bound():
    """An ad that is longer than the bound is a batch of its own."""
    ads = [ad(30), ad(30), ad(200), ad(10), ad(60, 20), ad(11)]
    cut = list(batches(ads, 90))
    assert [[one.tokens for one in batch] for batch in cut] == [[30, 30], [200], [10, 80], [11]]
    assert [one for batch in cut for one in batch] == ads


def test_answers_come_in_order_from_bounded_batches(checkpoint):
    ads = checkpoint.tokenizer().encode([Ad(row["text"]) for row in LABELLED_ADS])
    batch_sizes = []

    def run(batch):
        batch_sizes.append(sum(ad.tokens for ad in batch))
        return [ad.tokens for ad in batch]

    numbered = list(enumerate(ads, start=1))
    assert list(run_rows_in_batches(run, numbered, 50, "a.csv")) == [ad.tokens for ad in ads]
    assert max(batch_sizes) <= 50
    assert len(batch_sizes) < len(ads)
    batch_sizes.clear()
    assert list(run_rows_in_batches(run, numbered, 1, "a.csv")) == [ad.tokens for ad in ads]
    assert len(batch_sizes) == len(ads)
