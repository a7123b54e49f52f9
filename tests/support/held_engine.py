"""An engine whose batches wait for a test."""

import threading


class HeldEngine:
    """An engine that holds every batch until it is let go."""

    def __init__(self, run):
        self.go, self.began, self._run, self.batches = (
            threading.Event(),
            threading.Semaphore(0),
            run,
            [],
        )

    def __call__(self, batch):
        self.batches.append(len(batch))
        self.began.release()
        assert self.go.wait(20)
        return self._run(batch)
