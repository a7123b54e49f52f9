"""The wire: what requests and answers look like, with examples."""

from typing import Annotated, Any, Literal, Protocol

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    RootModel,
    StringConstraints,
)
from typing_extensions import TypeAliasType

from app.core.head_labels import HEADS, Head
from app.core.served_model import ServedModel
from app.core.types import Ad, Explanation, Format, ModelName, Prediction

# At least one letter that is no white space, neither in JSON Schema's sense nor in Unicode's: they
# differ in the two that are named.
Text = Annotated[str, StringConstraints(pattern=r"[^\s\x85\uFEFF]")]
TextFormat = TypeAliasType("TextFormat", Format)
"""Named, so that generated clients have a name for it too."""

EXAMPLE_AD: dict[str, JsonValue] = {
    "id": "a1",
    "title": "Pflegefachkraft (m/w/d)",
    "text": "Wir suchen eine Pflegefachkraft für unsere Station. Sie haben eine abgeschlossene "
    "dreijährige Ausbildung in der Pflege und arbeiten gern im Team.",
}
EXAMPLE_ANSWER: dict[str, JsonValue] = {
    "id": "a1",
    "job_category": {
        "label": "nursing_emergency",
        "probability": 0.93,
        "top": [{"label": "nursing_emergency", "probability": 0.93}],
    },
    "min_education": {
        "label": "vocational",
        "probability": 0.81,
        "top": [{"label": "vocational", "probability": 0.81}],
    },
    "tokens": 44,
    "windows": 1,
    "truncated": False,
    "model": {"name": "demo", "revision": "3f2a9c1e"},
}
EXAMPLE_MODEL: dict[str, JsonValue] = {
    "name": "demo",
    "revision": "3f2a9c1e",
    "device": "cpu",
    "dtype": "float32",
    "parameters": 20224934,
    "heads": {
        "job_category": {
            "labels": [
                {
                    "label": "nursing_emergency",
                    "names": {"de": "Pflege, Rettungsdienst", "en": "Nursing, emergency services"},
                    "codes": {"kldb": ["813"]},
                }
            ],
            "ordered": False,
        },
        "min_education": {
            "labels": [
                {
                    "label": "vocational",
                    "names": {"de": "Ausbildung", "en": "Vocational training"},
                    "codes": {"credential": ["professional certificate"]},
                }
            ],
            "ordered": True,
        },
    },
    "limits": {
        "max_length": 512,
        "max_windows": 4,
        "max_batch_ads": 256,
        "explain": True,
        "max_body_bytes": 8388608,
    },
}

EXAMPLE_LINE_PROBLEM: dict[str, JsonValue] = {
    "type": "urn:doppelkopf:problem:invalid-request",
    "title": "Invalid request",
    "status": 422,
    "detail": "line.text: Field required.",
    "request_id": "5f0c4e3b9a7d4f21",
}

EXPLAINED_ANSWER: dict[str, JsonValue] = {
    **EXAMPLE_ANSWER,
    "explanation": {
        "text": None,
        "title": {"job_category": 0.21, "min_education": 0.01},
        "sentences": [
            {"start": 0, "end": 51, "job_category": 0.04, "min_education": -0.02},
            {"start": 52, "end": 145, "job_category": 0.01, "min_education": 0.36},
        ],
    },
}


class Wire(BaseModel):
    """Base of everything on the wire: an unknown field is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AdIn(Wire):
    """One job ad."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [EXAMPLE_AD]})

    text: Text = Field(description="the ad's text, in full")
    # Without any limit, half of a surrogate pair would pass unseen.
    title: str | None = Field(None, min_length=0, description="the ad's title, where there is one")
    id: str | None = Field(None, max_length=200, description="returned with the answer")
    format: TextFormat = Field(
        "text", description="how title and text are written; `auto` reads HTML where it finds some"
    )

    def ad(self) -> Ad:
        """Return what the model reads."""
        return Ad(text=self.text, title=self.title, format=self.format)


class Identified(Protocol):
    """What was sent, as far as its answer repeats it."""

    @property
    def id(self) -> str | None:
        """As it was sent."""


def _whole(value: Any) -> Any:
    """Take 3.0 for 3, as JSON Schema does; some languages write all numbers so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


TopK = Annotated[
    int,
    Field(ge=1, le=1000, description="labels to return a head, the most probable first"),
    # Behind the limits, else they would be missing in the schema.
    BeforeValidator(_whole),
]


class ClassifyRequest(AdIn):
    """Body of `POST /classify`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [EXAMPLE_AD, {**EXAMPLE_AD, "explain": True}]}
    )

    top_k: TopK = 3
    explain: bool = Field(
        False, description="also tell how much each sentence speaks for the predicted labels"
    )


class BatchRequest(Wire):
    """Body of `POST /classify/batch`."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"ads": [EXAMPLE_AD], "top_k": 1}]}
    )

    ads: list[AdIn] = Field(min_length=1, description="the ads; the server limits their number")
    top_k: TopK = 3


class LabelOut(Wire):
    """A label with its probability."""

    label: str
    probability: float = Field(ge=0, le=1)


class HeadOut(LabelOut):
    """One head's answer: its most probable label, and the best few."""

    top: list[LabelOut] = Field(description="the `top_k` most probable labels, best first")


class ModelRef(Wire):
    """Which checkpoint answered."""

    name: str
    revision: str = Field(description="changes whenever answers may change")

    @classmethod
    def of(cls, model: ModelName) -> "ModelRef":
        """Name a checkpoint."""
        return cls(name=model.name, revision=model.revision)


Weight = Annotated[
    float,
    Field(
        ge=-1,
        le=1,
        description="probability of the head's predicted label, less its probability without this",
    ),
]


class TitleWeights(Wire):
    """What the title does to each head's answer."""

    text: str | None = Field(
        None, description="null is the `title` as it was sent, else what was read of its HTML"
    )
    job_category: Weight
    min_education: Weight


class SentenceOut(Wire):
    """A sentence, heading or list item, or several; what it does to each head's answer."""

    start: int = Field(ge=0, description="where it begins, in Unicode code points")
    end: int = Field(ge=1, description="where it has ended")
    job_category: Weight
    min_education: Weight


class ExplanationOut(Wire):
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
        """Put an explanation on the wire."""
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


class ClassifyResponse(Wire):
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
        """Put one prediction on the wire."""
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


class BatchResponse(Wire):
    """The answers of a batch, in the order of its ads."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"results": [EXAMPLE_ANSWER]}]})

    results: list[ClassifyResponse]


class LabelInfo(Wire):
    """A label, how people call it, and what classifications call it."""

    label: str
    names: dict[str, str] = Field(description="display names by language code")
    codes: dict[str, list[str]] = Field(description="codes by classification, as kldb or isco")


class HeadInfo(Wire):
    """A head's labels in the model's order."""

    labels: list[LabelInfo]
    ordered: bool = Field(description="whether the labels are levels, lowest first")

    @classmethod
    def of(cls, head: Head) -> "HeadInfo":
        """Describe a head."""
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


class HeadInfos(Wire):
    """Both heads."""

    job_category: HeadInfo
    min_education: HeadInfo


class Limits(Wire):
    """What the server takes."""

    max_length: int = Field(description="tokens of a window")
    max_windows: int = Field(description="windows of an ad")
    max_batch_ads: int = Field(description="ads of a batch")
    explain: bool = Field(description="whether single ads are explained")
    max_body_bytes: int = Field(description="bytes of a body")


class ModelResponse(Wire):
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


class Health(Wire):
    """The process lives, or is ready for work."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ready"}]})

    status: Literal["live", "ready"]


class Problem(BaseModel):
    """An error as RFC 9457 writes it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:doppelkopf:problem:too-many-requests",
                    "title": "Too many requests",
                    "status": 429,
                    "detail": "Too much work is waiting; try again in 2 s.",
                    "request_id": "5f0c4e3b9a7d4f21",
                }
            ]
        }
    )

    type: str = Field(description="identifies the kind of problem")
    title: str = Field(description="names the kind of problem")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what happened this time, and what to do")
    request_id: str = Field(description="as in the header X-Request-Id")

    @classmethod
    def of(cls, status: int, title: str, detail: str, request_id: str) -> dict[str, Any]:
        """Return the document as JSON can hold it; the type is derived from the title."""
        kind = f"urn:doppelkopf:problem:{title.lower().replace(' ', '-')}"
        return cls(
            type=kind, title=title, status=status, detail=detail, request_id=request_id
        ).model_dump()


class StreamLine(Wire):
    """Base of a stream's answers."""

    line: int = Field(ge=1, description="number of the line that is answered, the first being 1")


class StreamAnswer(ClassifyResponse, StreamLine):
    """One line of a stream's answer: what `POST /classify` answers, and the line it is for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"line": 1, **EXAMPLE_ANSWER}]})


class StreamError(StreamLine):
    """One line of a stream's answer in place of an ad's."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"line": 2, "resume": False, "error": EXAMPLE_LINE_PROBLEM}]
        }
    )

    resume: bool = Field(
        description="false: this line alone failed. true: the stream ends here, unfinished; send "
        "this line and all behind it again"
    )
    error: Problem


class StreamResult(RootModel[StreamAnswer | StreamError]):
    """One line of a stream's answer: an ad's, or what takes its place."""
