"""The values that travel through the service, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

Labels = tuple[str, ...]
Format = Literal["text", "html", "auto"]
"""How an ad's texts are written; "auto" looks at each."""

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]
else:
    # A client imports this for an ad and its answer, and has no arrays.
    FloatArray = Any


@dataclass(frozen=True, slots=True)
class Ad:
    """A job ad as its author wrote it."""

    text: str
    title: str | None = None
    format: Format = "text"
    more: tuple[str, ...] = ()
    """Further texts of the ad, each in the same format; read behind `text` if they add to it."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """An ad as token ids: one int32 array a window, special tokens included, in reading order."""

    windows: tuple[npt.NDArray[np.int32], ...]
    truncated: bool = False

    @property
    def tokens(self) -> int:
        """How many tokens the encoder reads for this ad, over all its windows."""
        return sum(len(window) for window in self.windows)


@dataclass(frozen=True, slots=True)
class Scores:
    """One ad's probabilities: by head, float32 of shape (labels,), summing to one."""

    probabilities: Mapping[str, FloatArray]


@dataclass(frozen=True, slots=True)
class LabelProbability:
    """One label of a head with its probability."""

    label: str
    probability: float


class ModelName(NamedTuple):
    """Which checkpoint: the same answers under the same name and revision."""

    name: str
    revision: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one ad: by head, the most probable labels, best first, never empty."""

    model: ModelName
    """Which answered."""
    heads: Mapping[str, tuple[LabelProbability, ...]]
    tokens: int
    windows: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class ExplainedSentence:
    """A part of a text, in Unicode code points, and by head what it does to the prediction."""

    start: int
    end: int
    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an ad's title, if it has one, and its sentences do to the prediction."""

    text: str | None
    """What the places refer to, where that is not the text as it was sent."""
    title_text: str | None
    """What was read of the title, where that is not as it was sent."""
    title: Mapping[str, float] | None
    sentences: tuple[ExplainedSentence, ...]
