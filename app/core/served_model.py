"""What a server serves, as it tells its clients."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.core.head_labels import Head
from app.core.types import ModelName

RUNNING = "Another checkpoint is being loaded; try again when it is done."


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What is served: the checkpoint's identity, where it computes, its heads."""

    name: str
    revision: str
    device: str
    dtype: str
    heads: Mapping[str, Head]
    parameters: int
    max_length: int
    max_windows: int

    @property
    def identity(self) -> ModelName:
        """Name and revision."""
        return ModelName(self.name, self.revision)

    def __str__(self) -> str:
        """Say it in the line that is logged when it is ready."""
        return f"{self.name}, revision {self.revision}, on {self.device} in {self.dtype}"


@dataclass(frozen=True, slots=True)
class Swap:
    """What was served before, what is served now, and how long it took."""

    old: ServedModel
    new: ServedModel
    seconds: float

    @property
    def changed(self) -> bool:
        """Whether the answers are another checkpoint's."""
        return self.old != self.new

    def __str__(self) -> str:
        """Say it in the line that is logged."""
        if not self.changed:
            return f"serves {self.new} already"
        return f"serves {self.new} after {self.seconds:.1f} s, no longer {self.old}"
