"""Waits for what other processes and threads do."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Check a condition every 50 ms until it holds.

    Raises:
        AssertionError: it does not hold after `seconds`.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"nothing happened within {seconds} s")
        time.sleep(0.05)
