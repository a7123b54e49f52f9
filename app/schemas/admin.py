"""The body and the answer of `POST /admin/model`."""

from typing import Annotated

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from app.schemas.fields import StrictModel
from app.schemas.model import ModelRef


class SwapRequest(StrictModel):
    """Which checkpoint to serve from now on."""

    model: Annotated[str, Field(max_length=255)] | SkipJsonSchema[None] = Field(
        None,
        description="a folder of the model store; without it, what the setting MODEL leads to",
        examples=["v2"],
    )


class SwapResponse(StrictModel):
    """What was served, and what is served now."""

    old: ModelRef
    new: ModelRef
    changed: bool = Field(description="false where it was served already, and nothing was loaded")
    seconds: float = Field(description="from the request until the new one answers")
