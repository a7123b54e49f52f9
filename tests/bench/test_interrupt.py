import signal

import pytest

from app.bench.interrupt import Interrupt


def test_the_first_ctrl_c_sets_a_flag_and_the_second_raises():
    with Interrupt() as interrupt:
        assert not interrupt.wanted()
        signal.raise_signal(signal.SIGINT)
        assert interrupt.wanted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_previous_handler_returns_at_the_end():
    previous = signal.getsignal(signal.SIGINT)
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) != previous
    assert signal.getsignal(signal.SIGINT) == previous
