"""The answers of `POST /classify/jobposting`: predictions, patches, and stated labels."""

from typing import Literal

from pydantic import ConfigDict, Field, JsonValue
from typing_extensions import TypeAliasType

from app.schemas.classify import ClassifyResponse
from app.schemas.examples import EXAMPLE_ANSWER
from app.schemas.fields import StrictModel

ALWAYS_THERE = ConfigDict(json_schema_serialization_defaults_required=True)
"""For models whose defaults are always sent: the JSON schema then lists them as required."""


class CategoryCodeSet(StrictModel):
    """The classification that a code is of."""

    kind: Literal["CategoryCodeSet"] = Field(default="CategoryCodeSet", alias="@type")
    name: str
    url: str | None = Field(None, exclude_if=lambda url: url is None)


class CategoryCode(StrictModel):
    """A code of the predicted category."""

    model_config = ALWAYS_THERE

    kind: Literal["CategoryCode"] = Field(default="CategoryCode", alias="@type")
    code: str = Field(alias="codeValue")
    name: str
    code_set: CategoryCodeSet = Field(alias="inCodeSet")


class Credential(StrictModel):
    """The predicted education as search engines read it."""

    model_config = ALWAYS_THERE

    kind: Literal["EducationalOccupationalCredential"] = Field(
        default="EducationalOccupationalCredential", alias="@type"
    )
    category: str = Field(alias="credentialCategory")
    name: str


OccupationalCategory = TypeAliasType("OccupationalCategory", list[CategoryCode] | str)
EducationRequirements = TypeAliasType("EducationRequirements", Credential | str)


class Patch(StrictModel):
    """What to add to the posting; what it has already is left out."""

    category: OccupationalCategory | None = Field(
        default=None, alias="occupationalCategory", exclude_if=lambda value: value is None
    )
    education: EducationRequirements | None = Field(
        default=None, alias="educationRequirements", exclude_if=lambda value: value is None
    )


class Stated(StrictModel):
    """What the posting itself says of a head's question."""

    text: str | None = Field(
        default=None, description="its words or codes; null where it says nothing"
    )
    label: str | None = Field(
        default=None, description="the label it means; null where that is not known"
    )
    agrees: bool | None = Field(
        default=None, description="whether it is what was predicted; null where that is not known"
    )


class StatedHeads(StrictModel):
    """What the posting itself says, by head."""

    job_category: Stated
    min_education: Stated


EXAMPLE_POSTING_ANSWER: dict[str, JsonValue] = {
    **EXAMPLE_ANSWER,
    "id": "2047",
    "patch": {
        "occupationalCategory": [
            {
                "@type": "CategoryCode",
                "codeValue": "813",
                "name": "Pflege, Rettungsdienst und Geburtshilfe",
                "inCodeSet": {"@type": "CategoryCodeSet", "name": "KldB 2010"},
            }
        ]
    },
    "stated": {
        "job_category": {"text": None, "label": None, "agrees": None},
        "min_education": {
            "text": "bachelor degree",
            "label": "advanced",
            "agrees": False,
        },
    },
}


class JobPostingAnswer(ClassifyResponse):
    """The answer for one posting."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_POSTING_ANSWER]})

    patch: Patch
    stated: StatedHeads


class JobPostingResponse(StrictModel):
    """The answers for all postings of a document, in order."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"results": [EXAMPLE_POSTING_ANSWER]}]}
    )

    results: list[JobPostingAnswer]
