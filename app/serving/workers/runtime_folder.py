"""The private folder of a service of several processes: what they share lies in it."""

from dataclasses import dataclass
from pathlib import Path

MAX_ENGINES = 64
"""The ledger has room for so many: it is made before anyone has counted the devices."""


@dataclass(frozen=True, slots=True)
class RuntimeFolder:
    """A folder that only its owner can enter; it goes when the service ends."""

    path: Path

    @property
    def ledger(self) -> Path:
        """What is admitted, see `app.serving.scheduling.shared_counters`."""
        return self.path / "ledger"

    @property
    def status(self) -> Path:
        """What `app.serving.metrics.Supervision` reads."""
        return self.path / "status"

    @property
    def metrics(self) -> Path:
        """A folder of the metrics library's own files."""
        return self.path / "metrics"

    def served(self, number: int, generation: int) -> Path:
        """What an engine process serves, for the front ends: model and tokenizer, pickled."""
        return self.path / f"served-{number}.{generation}"

    def address(self, number: int, generation: int) -> str:
        """Where an engine process takes requests for that checkpoint."""
        return f"ipc://{self.path}/engine-{number}.{generation}"
