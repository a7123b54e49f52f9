"""The body of `POST /classify/jobposting`: schema.org's JobPosting as JSON-LD.

Postings are validated loosely, as pages contain them: only `@type`, and text in the title or the
description, are required; every other property may have any value.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, LiteralString, TypeGuard

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    RootModel,
    Tag,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypeAliasType

from app.schemas.fields import Text, TopK

JOB_POSTING_TYPE = r"^(https?://schema\.org/|schema:)?JobPosting$"
MAX_ID = 200
ERROR_TYPE = "job_posting"
Schema = dict[str, Any]
_TYPE_SCHEMA: Schema = {
    "anyOf": [
        {"type": "string", "pattern": JOB_POSTING_TYPE},
        {"type": "array", "contains": {"type": "string", "pattern": JOB_POSTING_TYPE}},
    ]
}
_TEXT = TypeAdapter(Text)
_TEXT_SCHEMA: Schema = {"type": "string", "pattern": r"[^\s\x85\uFEFF]"}
_VALUE_SCHEMA: Schema = {
    "type": "object",
    "required": ["@value"],
    "properties": {"@value": _TEXT_SCHEMA},
}
_WORDS_SCHEMA: Schema = {
    "anyOf": [
        _TEXT_SCHEMA,
        _VALUE_SCHEMA,
        {"type": "array", "contains": {"anyOf": [_TEXT_SCHEMA, _VALUE_SCHEMA]}},
    ]
}
_HAS_GRAPH: Schema = {"type": "object", "required": ["@graph"]}
_IS_POSTING: Schema = {
    "type": "object",
    "required": ["@type"],
    "properties": {"@type": _TYPE_SCHEMA, "@graph": False},
}
EXAMPLE_POSTING: dict[str, JsonValue] = {
    "@context": "https://schema.org/",
    "@type": "JobPosting",
    "identifier": {"@type": "PropertyValue", "name": "Klinikum Lindenau", "value": "2047"},
    "title": "Pflegefachkraft (m/w/d) für die Innere Medizin",
    "description": "<p>Sie pflegen unsere Patienten im Schichtdienst.</p>"
    "<h3>Das bringen Sie mit</h3><ul><li>eine abgeschlossene dreijährige Ausbildung in der "
    "Pflege</li><li>Freude an der Arbeit im Team</li></ul>",
    "hiringOrganization": {"@type": "Organization", "name": "Klinikum Lindenau"},
    "educationRequirements": {
        "@type": "EducationalOccupationalCredential",
        "credentialCategory": "bachelor degree",
    },
}


def _invalid(message: LiteralString) -> PydanticCustomError:
    return PydanticCustomError(ERROR_TYPE, message)


def texts_of(value: Any) -> list[str]:
    """Return the texts of a property: a string, a language-tagged value, or a list of these.

    Blank texts, and texts that cannot be encoded, are left out.
    """
    several: list[Any] = value if isinstance(value, list) else [value]
    found = (one.get("@value") if isinstance(one, dict) else one for one in several)
    return [one for one in found if _is_text(one)]


def _is_text(value: Any) -> TypeGuard[str]:
    try:
        _TEXT.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def _kind(node: Any) -> str:
    if isinstance(node, list):
        return "list"
    if not isinstance(node, dict):
        return "other"
    if "@graph" in node:
        return "graph"
    kinds = node.get("@type")
    named = any(
        isinstance(kind, str) and re.search(JOB_POSTING_TYPE, kind)
        for kind in (kinds if isinstance(kinds, list) else [kinds])
    )
    return "posting" if named else "other"


def _kind_in_graph(node: Any) -> str:
    return "posting" if _kind(node) == "posting" else "other"


JobPostingType = TypeAliasType("JobPostingType", Annotated[Any, WithJsonSchema(_TYPE_SCHEMA)])


class JobPosting(BaseModel):
    """A schema.org JobPosting; it needs words in its title or in its description."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="allow",
        json_schema_extra={
            "examples": [EXAMPLE_POSTING],
            # Wrapped in `allOf`: client generators take a bare `anyOf` for the whole schema and
            # drop the properties next to it.
            "allOf": [
                {
                    "anyOf": [
                        {"required": [name], "properties": {name: _WORDS_SCHEMA}}
                        for name in ("title", "description")
                    ]
                }
            ],
            "not": _HAS_GRAPH,
        },
    )

    kind: JobPostingType = Field(alias="@type")
    title: Any = Field(None, description="the ad's title")
    description: Any = Field(None, description="the ad's text, HTML or plain")
    top_k: TopK = 3
    explain: Literal[False] = Field(False, description="single ads alone are explained")

    @model_validator(mode="after")
    def _check(self) -> "JobPosting":
        if not texts_of(self.title) and not texts_of(self.description):
            raise _invalid("a JobPosting needs text in its title or its description")
        return self

    def value(self, name: str) -> Any:
        """Return a property that this model has no field for; None if it is missing."""
        return (self.model_extra or {}).get(name)

    @property
    def id(self) -> str | None:
        """The author's own id: the posting's `identifier`, or else its `@id`."""
        identifier = self.value("identifier")
        if isinstance(identifier, dict):
            identifier = identifier.get("value")
        for one in (identifier, self.value("@id")):
            if isinstance(one, str) and _is_text(one) and len(one) <= MAX_ID:
                return one
        return None


Posting = Annotated[JobPosting, Tag("posting")]


class JobPostingGraph(BaseModel):
    """A JSON-LD document whose `@graph` holds postings, perhaps among other things."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")

    graph: list[
        Annotated[
            Posting | Annotated[Any, Tag("other"), WithJsonSchema({"not": _IS_POSTING})],
            Discriminator(_kind_in_graph),
        ]
    ] = Field(alias="@graph", json_schema_extra={"contains": _IS_POSTING})
    top_k: TopK = Field(3, description="of the postings that do not say their own")
    explain: Literal[False] = Field(False, description="single ads alone are explained")

    @model_validator(mode="after")
    def _check(self) -> "JobPostingGraph":
        if not any(self.postings()):
            raise _invalid("there is no JobPosting in the @graph")
        return self

    def postings(self) -> Iterator[JobPosting]:
        """Yield the postings in order."""
        for node in self.graph:
            if isinstance(node, JobPosting):
                own = "top_k" in node.model_fields_set
                yield node if own else node.model_copy(update={"top_k": self.top_k})


Graph = Annotated[JobPostingGraph, Tag("graph")]
NOT_POSTINGS = {"not": {"anyOf": [_IS_POSTING, _HAS_GRAPH]}}


class JobPostingList(
    RootModel[
        list[
            Annotated[
                Posting | Graph | Annotated[Any, Tag("other"), WithJsonSchema(NOT_POSTINGS)],
                Discriminator(lambda node: "other" if isinstance(node, list) else _kind(node)),
            ]
        ]
    ]
):
    """Postings and graphs of them, perhaps among other things."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        json_schema_extra={"contains": {"anyOf": [_IS_POSTING, _HAS_GRAPH]}},
    )

    @model_validator(mode="after")
    def _check(self) -> "JobPostingList":
        if not any(self.postings()):
            raise _invalid("there is no JobPosting in the list")
        return self

    def postings(self) -> Iterator[JobPosting]:
        """Yield the postings in order."""
        for node in self.root:
            if isinstance(node, JobPosting):
                yield node
            elif isinstance(node, JobPostingGraph):
                yield from node.postings()


class JobPostingDocument(
    RootModel[
        Annotated[
            Posting | Graph | Annotated[JobPostingList, Tag("list")],
            Discriminator(
                _kind,
                custom_error_type=ERROR_TYPE,
                custom_error_message="send a JobPosting, a list of them or an @graph with them",
            ),
        ]
    ]
):
    """Body of `POST /classify/jobposting`: JSON-LD as pages embed it for search engines."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [EXAMPLE_POSTING]})

    def postings(self) -> list[JobPosting]:
        """Return the postings in order."""
        return [self.root] if isinstance(self.root, JobPosting) else list(self.root.postings())
