from app.loading import available_cores, largest_batch


def test_the_warm_up_fills_one_batch_with_the_longest_ads(checkpoint):
    tokenizer = checkpoint.tokenizer()
    batch = largest_batch(tokenizer, 3 * tokenizer.longest + 1)
    assert [item.tokens for item in batch] == [tokenizer.longest] * 3
    assert len(largest_batch(tokenizer, 1)) == 1


def test_at_least_one_core_is_there():
    assert available_cores() >= 1
