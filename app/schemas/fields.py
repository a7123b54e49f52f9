"""The base class of all models, and the types and limits of fields that several of them share."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from typing_extensions import TypeAliasType

from app.core.types import Format

MAX_TIMEOUT_MS = 600_000
"""Largest value of the header `X-Request-Timeout-Ms`."""


class StrictModel(BaseModel):
    """Base of all requests and answers: immutable, and an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# At least one character that is neither white space nor a byte order mark. JSON Schema's `\s` and
# Python's differ in exactly the two characters that are named here.
Text = Annotated[str, StringConstraints(pattern=r"[^\s\x85\uFEFF]")]
TextFormat = TypeAliasType("TextFormat", Format)
"""An alias with a name, so that generated clients have a named type for it too."""


def _whole_float_as_int(value: Any) -> Any:
    """Accept 3.0 as 3, as JSON Schema does: some languages write every number as a float."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


TopK = Annotated[
    int,
    Field(ge=1, le=1000, description="labels to return a head, the most probable first"),
    # After the limits: before them it would remove them from the JSON schema.
    BeforeValidator(_whole_float_as_int),
]
