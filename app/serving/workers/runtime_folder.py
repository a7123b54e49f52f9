"""The private folder in which the processes of one service share files and sockets."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MAX_ENGINES = 64
"""Engines that the shared counters have room for; their file is made before devices are counted."""


@dataclass(frozen=True, slots=True)
class RuntimeFolder:
    """A temporary folder that only its owner can enter; the supervisor removes it at the end."""

    path: Path

    @property
    def counters(self) -> Path:
        """The file of `app.serving.scheduling.shared_counters`."""
        return self.path / "counters"

    @property
    def status(self) -> Path:
        """The file that `write_status` writes and `app.serving.metrics.Supervision` reads."""
        return self.path / "status"

    @property
    def metrics(self) -> Path:
        """The folder of the Prometheus client's multiprocess mode."""
        return self.path / "metrics"

    def served_model(self, engine: int, generation: int) -> Path:
        """The model and tokenizer that an engine process serves, pickled for the front ends."""
        return self.path / f"served-{engine}.{generation}"

    def engine_address(self, engine: int, generation: int) -> str:
        """The ZeroMQ address at which an engine process takes a generation's requests."""
        return f"ipc://{self.path}/engine-{engine}.{generation}"

    def write_status(self, children: Mapping[str, int], restarts: int) -> None:
        """Write the processes of the service and how often a front end was replaced.

        Args:
            children: process ids by name; the calling process is added as "supervisor".
            restarts: front ends replaced so far.
        """
        status = {"processes": {"supervisor": os.getpid(), **children}, "restarts": restarts}
        # Renamed, so that no reader finds half a file.
        unfinished = self.status.with_suffix(".new")
        unfinished.write_text(json.dumps(status), encoding="ascii")
        unfinished.replace(self.status)
