"""An engine whose passes wait until the test lets them finish."""

import threading


class HeldEngine:
    """Wraps a run function: every pass waits for `go`.

    `began` is released at the start of each pass; `batches` holds the numbers of ads.
    """

    def __init__(self, run):
        self.go, self.began = threading.Event(), threading.Semaphore(0)
        self.batches: list[int] = []
        self._run = run

    def __call__(self, batch):
        self.batches.append(len(batch))
        self.began.release()
        assert self.go.wait(20)
        return self._run(batch)
