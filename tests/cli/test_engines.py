import pytest

from app.cli.engines import load_engine
from app.core.errors import SettingsError


def test_batch_tokens_are_the_devices_unless_given(checkpoint):
    engine, tokens = load_engine(checkpoint, "cpu", "auto")
    assert (engine.device.type, tokens) == ("cpu", engine.batch_tokens)
    assert load_engine(checkpoint, "cpu", "auto", 64)[1] == 64


def test_an_unknown_device_is_refused(checkpoint):
    with pytest.raises(SettingsError, match="abacus"):
        load_engine(checkpoint, "abacus", "auto")
