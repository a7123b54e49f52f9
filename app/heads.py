"""A classification head: its ordered labels, their display names and its temperature."""

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.records import Labels

HEADS = ("job_category", "min_education")
"""The heads of every checkpoint, in the order of the model's outputs."""

Label = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Head(BaseModel):
    """One head as `config.json` keeps it; label *i* belongs to logit *i*."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[Label, ...] = Field(min_length=2)
    names: dict[str, tuple[Label, ...]] = Field(
        default_factory=dict,
        description="display names by language code, in the order of the labels",
    )
    temperature: float = Field(
        default=1.0, gt=0, le=100, description="divides the logits before the softmax"
    )
    ordered: bool = Field(
        default=False, description="the labels are levels, lowest first, so a miss has a distance"
    )

    @model_validator(mode="after")
    def _check(self) -> "Head":
        if repeated := first_repeated(self.labels):
            raise ValueError(f"the label '{repeated}' appears twice")
        for language, names in self.names.items():
            if len(names) != len(self.labels):
                raise ValueError(
                    f"{len(names)} names in '{language}' do not fit {len(self.labels)} labels"
                )
        return self


def first_repeated(labels: Iterable[str]) -> str | None:
    """Return the first label that stands twice, or None."""
    seen: set[str] = set()
    for label in labels:
        if label in seen:
            return label
        seen.add(label)
    return None


def labels_of(heads: Mapping[str, Head]) -> dict[str, Labels]:
    """Return each head's labels in logit order."""
    return {name: head.labels for name, head in heads.items()}
