"""Immutable value types: an ad, its token ids, its probabilities and its prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

Labels = tuple[str, ...]
Format = Literal["text", "html", "auto"]
"""Format of an ad's texts; "auto" detects HTML in each of them."""

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float32]
else:
    # The client imports this module and must work without numpy.
    FloatArray = Any


@dataclass(frozen=True, slots=True)
class Ad:
    """A job ad as it was sent, before markup is removed."""

    text: str
    title: str | None = None
    format: Format = "text"
    more_texts: tuple[str, ...] = ()
    """Further texts of the ad in the same format, appended to `text` unless it contains them."""


@dataclass(frozen=True, slots=True)
class EncodedAd:
    """An ad as token ids: one int32 array a window, with special tokens, in reading order.

    `truncated` is true if a part of the ad was not read.
    """

    windows: tuple[npt.NDArray[np.int32], ...]
    truncated: bool = False

    @property
    def tokens(self) -> int:
        """Number of tokens in all windows, special tokens included."""
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


class ModelIdentity(NamedTuple):
    """Name and revision of a checkpoint; the same pair gives the same answers."""

    name: str
    revision: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one ad."""

    model: ModelIdentity
    """The checkpoint that computed it."""
    heads: Mapping[str, tuple[LabelProbability, ...]]
    """By head, the most probable labels, best first; at least one."""
    tokens: int
    windows: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class ExplainedSentence:
    """A sentence of an ad and how much it contributes to the prediction."""

    start: int
    end: int
    """Offsets in Unicode code points; `end` is exclusive."""
    weights: Mapping[str, float]
    """By head, how much the best label's probability falls when the sentence is left out."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """How much an ad's title and each of its sentences contribute to the prediction."""

    text: str | None
    """The text that the offsets refer to; None if it is the text as it was sent."""
    title_text: str | None
    """The title without markup; None if it is the title as it was sent."""
    title: Mapping[str, float] | None
    """The title's weights, as those of a sentence; None without a title."""
    sentences: tuple[ExplainedSentence, ...]
