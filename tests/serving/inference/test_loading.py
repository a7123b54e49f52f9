import importlib
import sys
from importlib.util import find_spec

import pytest

from app.serving.inference.loading import available_cores, hidden_modules, largest_batch


def test_the_warm_up_batch_is_full_of_longest_ads(checkpoint):
    tokenizer = checkpoint.tokenizer()
    batch = largest_batch(tokenizer, 3 * tokenizer.max_ad_tokens + 1)
    assert [item.tokens for item in batch] == [tokenizer.max_ad_tokens] * 3
    assert len(largest_batch(tokenizer, 1)) == 1


def test_at_least_one_core_is_available():
    assert available_cores() >= 1


def test_a_hidden_module_cannot_be_imported_inside_the_block():
    sys.modules.pop("this", None)
    with hidden_modules(["this"]):
        assert find_spec("this") is None
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("this")
    assert find_spec("this") is not None


def test_a_loaded_module_is_not_hidden():
    with hidden_modules(["json"]):
        assert importlib.import_module("json") is sys.modules["json"]
    assert sys.modules["json"] is not None
