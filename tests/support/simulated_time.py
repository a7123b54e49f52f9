"""An event loop whose clock jumps over every wait: a test of timeouts takes no time itself.

Only for what waits for timers and for its own tasks; threads and processes need the real clock.
"""

import asyncio
import selectors


class _Jumping(selectors.DefaultSelector):
    """Lets the waits of an idle loop end at once, and adds them up."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "every task waits, and no timer will ever wake one"
        ready = super().select(0)
        if not ready:
            self.waited += timeout
        return ready


class SimulatedTime(asyncio.SelectorEventLoop):
    """To be the `loop_factory` of an `asyncio.Runner`."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the seconds that were waited so far."""
        return self._jumping.waited
