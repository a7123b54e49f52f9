import pytest

from app.model.classifier import ENCODERS
from tests.conftest import tiny_model
from tests.support.packed_models import assert_same_logits, run_packed, some_windows


@pytest.mark.parametrize("kind", ENCODERS)
def test_computing_first_tokens_only_gives_equal_logits(kind):
    model, windows = tiny_model(kind), some_windows()
    expected = run_packed(model, windows)
    model.keep_first_tokens()
    assert_same_logits(run_packed(model, windows), expected, 1e-5)
