"""Ads and their answers: `POST /classify` and `POST /classify/batch`."""

from typing import Protocol

from pydantic import ConfigDict, Field

from app.core.types import Ad, Explanation, Prediction
from app.schemas.examples import EXAMPLE_AD, EXAMPLE_ANSWER, EXPLAINED_ANSWER
from app.schemas.explanation import ExplanationOut
from app.schemas.fields import StrictModel, Text, TextFormat, TopK
from app.schemas.model import ModelRef


class AdIn(StrictModel):
    """One job ad."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [EXAMPLE_AD]})

    text: Text = Field(description="the ad's text, in full")
    # `min_length=0` makes pydantic check the characters: without any constraint it would accept a
    # lone surrogate, which cannot be encoded later.
    title: str | None = Field(None, min_length=0, description="the ad's title, where there is one")
    id: str | None = Field(None, max_length=200, description="returned with the answer")
    format: TextFormat = Field(
        "text", description="how title and text are written; `auto` reads HTML where it finds some"
    )

    def ad(self) -> Ad:
        """Convert the ad to the value type that the rest of the service uses."""
        return Ad(text=self.text, title=self.title, format=self.format)


class ClassifyRequest(AdIn):
    """Body of `POST /classify`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [EXAMPLE_AD, {**EXAMPLE_AD, "explain": True}]}
    )

    top_k: TopK = 3
    explain: bool = Field(
        False, description="also tell how much each sentence speaks for the predicted labels"
    )


class BatchRequest(StrictModel):
    """Body of `POST /classify/batch`."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"ads": [EXAMPLE_AD], "top_k": 1}]}
    )

    ads: list[AdIn] = Field(min_length=1, description="the ads; the server limits their number")
    top_k: TopK = 3


class LabelOut(StrictModel):
    """A label with its probability."""

    label: str
    probability: float = Field(ge=0, le=1)


class HeadOut(LabelOut):
    """One head's answer: its most probable label, and the best few."""

    top: list[LabelOut] = Field(description="the `top_k` most probable labels, best first")


class Identified(Protocol):
    """An ad or a posting, with the `id` that its answer repeats."""

    @property
    def id(self) -> str | None:
        """The client's own id for it, or None."""


class ClassifyResponse(StrictModel):
    """Both heads' answers for one ad."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_ANSWER, EXPLAINED_ANSWER]})

    id: str | None = Field(description="as it was sent")
    job_category: HeadOut
    min_education: HeadOut
    tokens: int = Field(description="tokens the encoder read, over all windows")
    windows: int = Field(description="windows the ad was read in")
    truncated: bool = Field(description="whether the ad was longer than its windows")
    model: ModelRef
    explanation: ExplanationOut | None = Field(
        None,
        description="only where `explain` asked for it",
        exclude_if=lambda explanation: explanation is None,
    )

    @classmethod
    def of(
        cls, ad: Identified, answer: Prediction, explanation: Explanation | None = None
    ) -> "ClassifyResponse":
        """Return the answer for one ad: its id, its prediction, and its explanation if any."""
        heads = {
            head: HeadOut(
                label=top[0].label,
                probability=top[0].probability,
                top=[LabelOut(label=one.label, probability=one.probability) for one in top],
            )
            for head, top in answer.heads.items()
        }
        return cls(
            id=ad.id,
            job_category=heads["job_category"],
            min_education=heads["min_education"],
            tokens=answer.tokens,
            windows=answer.windows,
            truncated=answer.truncated,
            model=ModelRef.of(answer.model),
            explanation=ExplanationOut.of(explanation) if explanation else None,
        )


class BatchResponse(StrictModel):
    """The answers of a batch, in the order of its ads."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"results": [EXAMPLE_ANSWER]}]})

    results: list[ClassifyResponse]
