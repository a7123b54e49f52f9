"""What a server serves, as it tells its clients."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.heads import Head


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

    def __str__(self) -> str:
        """Say it in the line that is logged when it is ready."""
        return f"{self.name}, revision {self.revision}, on {self.device} in {self.dtype}"
