"""The description of the model that a server serves, and of a checkpoint swap."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.core.head_labels import Head
from app.core.types import ModelIdentity

SWAP_RUNNING = "Another checkpoint is being loaded; try again when it is done."
"""Message of `SwapRunningError`."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The model that a server serves: the checkpoint, its device and dtype, its heads and limits.

    `max_length` is the maximum number of tokens of a window, `max_windows` of windows of an ad.
    """

    name: str
    revision: str
    device: str
    dtype: str
    heads: Mapping[str, Head]
    parameters: int
    max_length: int
    max_windows: int

    @property
    def identity(self) -> ModelIdentity:
        """Name and revision of the checkpoint."""
        return ModelIdentity(self.name, self.revision)

    def __str__(self) -> str:
        """Describe the model for the log."""
        return f"{self.name}, revision {self.revision}, on {self.device} in {self.dtype}"


@dataclass(frozen=True, slots=True)
class CompletedSwap:
    """A completed checkpoint swap: the old model, the new one, and the seconds it took."""

    old: ServedModel
    new: ServedModel
    seconds: float

    @property
    def changed(self) -> bool:
        """Whether the new model differs from the old one."""
        return self.old != self.new

    def __str__(self) -> str:
        """Describe the swap for the log, as the end of a sentence."""
        if not self.changed:
            return f"serves {self.new} already"
        return f"serves {self.new} after {self.seconds:.1f} s, no longer {self.old}"
