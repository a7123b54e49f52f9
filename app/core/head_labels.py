"""The labels of a classification head: their order, display names, codes and temperature."""

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.core.types import Labels

HEADS = ("job_category", "min_education")
"""Names of the two heads of every checkpoint, in the order of the model's outputs."""

IGNORE_INDEX = -100
"""Target of a row without a label for a head; the loss skips it, as `ignore_index` in torch."""

Label = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Scheme = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,49}$")]

CREDENTIAL = "credential"
NO_REQUIREMENTS = "no requirements"
CREDENTIALS = (
    NO_REQUIREMENTS,
    "high school",
    "professional certificate",
    "associate degree",
    "bachelor degree",
    "postgraduate degree",
)
"""The allowed codes of the scheme `credential`: the values that search engines accept as a
JobPosting's `credentialCategory` (Google Search, "Job posting structured data"), and the text for
jobs without requirements."""


class Head(BaseModel):
    """The labels of one head, as stored in `config.json`; label *i* belongs to logit *i*."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[Label, ...] = Field(min_length=2)
    names: dict[str, tuple[Label, ...]] = Field(
        default_factory=dict,
        description="display names by language code, in the order of the labels",
    )
    codes: dict[Scheme, tuple[tuple[Label, ...], ...]] = Field(
        default_factory=dict,
        description="codes by scheme (kldb, isco, dqr, credential, ...), one tuple a label in the "
        "order of the labels; the first code of a tuple is the label's main one",
    )
    temperature: float = Field(
        default=1.0, gt=0, le=100, description="divides the logits before the softmax"
    )
    ordered: bool = Field(
        default=False,
        description="the labels are levels, lowest first, so an error can be measured in levels",
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
        for scheme, codes in self.codes.items():
            self._check_codes(scheme, codes)
        return self

    def _check_codes(self, scheme: str, codes: tuple[tuple[str, ...], ...]) -> None:
        if len(codes) != len(self.labels):
            raise ValueError(
                f"codes of '{scheme}' for {len(codes)} labels do not fit {len(self.labels)} labels"
            )
        for label, label_codes in zip(self.labels, codes, strict=True):
            if repeated := first_repeated(label_codes):
                raise ValueError(f"the label '{label}' has the {scheme} code '{repeated}' twice")
            foreign = [code for code in label_codes if code not in CREDENTIALS]
            if scheme == CREDENTIAL and foreign:
                raise ValueError(
                    f"the label '{label}' has the credential '{foreign[0]}'; "
                    f"known are {', '.join(CREDENTIALS)}"
                )

    def codes_of(self, index: int) -> dict[str, tuple[str, ...]]:
        """Return the codes of the label with this index, by each scheme that has any for it."""
        return {scheme: codes[index] for scheme, codes in self.codes.items() if codes[index]}

    def name_of(self, index: int) -> str:
        """Return the display name of the label with this index: its first name, or the label."""
        return next((names[index] for names in self.names.values()), self.labels[index])


def first_repeated(labels: Iterable[str]) -> str | None:
    """Return the first label that repeats an earlier one, or None."""
    seen: set[str] = set()
    for label in labels:
        if label in seen:
            return label
        seen.add(label)
    return None


def labels_of(heads: Mapping[str, Head]) -> dict[str, Labels]:
    """Return each head's labels in logit order."""
    return {name: head.labels for name, head in heads.items()}
