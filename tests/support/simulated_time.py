"""An event loop with a simulated clock, so that tests of timeouts take no time.

It is only for code that waits for timers and tasks; threads and processes need the real clock.
"""

import asyncio
import selectors


class _SkippingSelector(selectors.DefaultSelector):
    """Ends every wait of an idle loop at once, and adds up the seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "all tasks wait, and there is no timer"
        ready = super().select(0)
        if not ready:
            self.waited += timeout
        return ready


class SimulatedTime(asyncio.SelectorEventLoop):
    """Pass it as the `loop_factory` of an `asyncio.Runner`."""

    def __init__(self) -> None:
        self._skipping = _SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        """Return the simulated seconds so far."""
        return self._skipping.waited
