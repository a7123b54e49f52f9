"""The answers of `GET /model` and `GET /health`, and the checkpoint that every answer names."""

from typing import Literal

from pydantic import ConfigDict, Field

from app.core.head_labels import HEADS, Head
from app.core.served_model import ServedModel
from app.core.types import ModelIdentity
from app.schemas.examples import EXAMPLE_MODEL
from app.schemas.fields import StrictModel


class ModelRef(StrictModel):
    """Which checkpoint answered."""

    name: str
    revision: str = Field(description="changes whenever answers may change")

    @classmethod
    def of(cls, model: ModelIdentity) -> "ModelRef":
        """Convert a checkpoint's name and revision to their JSON model."""
        return cls(name=model.name, revision=model.revision)


class LabelInfo(StrictModel):
    """A label, how people call it, and what classifications call it."""

    label: str
    names: dict[str, str] = Field(description="display names by language code")
    codes: dict[str, list[str]] = Field(description="codes by classification, as kldb or isco")


class HeadInfo(StrictModel):
    """A head's labels in the model's order."""

    labels: list[LabelInfo]
    ordered: bool = Field(description="whether the labels are levels, lowest first")

    @classmethod
    def of(cls, head: Head) -> "HeadInfo":
        """Describe a head by its labels, in the order of its logits."""
        return cls(
            labels=[
                LabelInfo(
                    label=label,
                    names={language: names[index] for language, names in head.names.items()},
                    codes={scheme: list(own) for scheme, own in head.codes_of(index).items()},
                )
                for index, label in enumerate(head.labels)
            ],
            ordered=head.ordered,
        )


class HeadInfos(StrictModel):
    """Both heads."""

    job_category: HeadInfo
    min_education: HeadInfo


class Limits(StrictModel):
    """What the server takes."""

    max_length: int = Field(description="tokens of a window")
    max_windows: int = Field(description="windows of an ad")
    max_batch_ads: int = Field(description="ads of a batch")
    explain: bool = Field(description="whether single ads are explained")
    max_body_bytes: int = Field(description="bytes of a body")


class ModelResponse(StrictModel):
    """What is served."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_MODEL]})

    name: str
    revision: str
    device: str
    dtype: str
    parameters: int
    heads: HeadInfos
    limits: Limits

    @classmethod
    def of(
        cls, model: ServedModel, *, max_batch_ads: int, max_body_bytes: int, explain: bool
    ) -> "ModelResponse":
        """Describe the served model and the server's limits."""
        return cls(
            name=model.name,
            revision=model.revision,
            device=model.device,
            dtype=model.dtype,
            parameters=model.parameters,
            heads=HeadInfos(**{name: HeadInfo.of(model.heads[name]) for name in HEADS}),
            limits=Limits(
                max_length=model.max_length,
                max_windows=model.max_windows,
                max_batch_ads=max_batch_ads,
                explain=explain,
                max_body_bytes=max_body_bytes,
            ),
        )


class Health(StrictModel):
    """The process lives, or is ready for work."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ready"}]})

    status: Literal["live", "ready"]
