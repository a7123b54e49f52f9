"""Why an ad was classified as it was: the weight of its title and of each sentence."""

from typing import Annotated

from pydantic import Field

from app.core.types import Explanation
from app.schemas.fields import StrictModel

Weight = Annotated[
    float,
    Field(
        ge=-1,
        le=1,
        description="probability of the head's predicted label, less its probability without this",
    ),
]


class TitleWeights(StrictModel):
    """What the title does to each head's answer."""

    text: str | None = Field(
        None, description="null is the `title` as it was sent, else what was read of its HTML"
    )
    job_category: Weight
    min_education: Weight


class SentenceOut(StrictModel):
    """A sentence, heading or list item, or several; what it does to each head's answer."""

    start: int = Field(ge=0, description="where it begins, in Unicode code points")
    end: int = Field(ge=1, description="where it has ended")
    job_category: Weight
    min_education: Weight


class ExplanationOut(StrictModel):
    """How much each part of an ad speaks for (above 0) or against the predicted labels."""

    text: str | None = Field(
        None,
        description="what `start` and `end` refer to: null is the `text` as it was sent, else it "
        "is what was read of its HTML",
    )
    title: TitleWeights | None = Field(None, description="null where there is no title")
    sentences: list[SentenceOut] = Field(description="in order; only what was read")

    @classmethod
    def of(cls, explanation: Explanation) -> "ExplanationOut":
        """Convert an explanation to its JSON model."""
        return cls(
            text=explanation.text,
            title=TitleWeights(text=explanation.title_text, **explanation.title)
            if explanation.title
            else None,
            sentences=[
                SentenceOut(start=one.start, end=one.end, **one.weights)
                for one in explanation.sentences
            ],
        )
