"""The lines that `POST /classify/stream` answers with."""

from pydantic import ConfigDict, Field, RootModel

from app.schemas.classify import ClassifyResponse
from app.schemas.examples import EXAMPLE_ANSWER, EXAMPLE_LINE_PROBLEM
from app.schemas.fields import StrictModel
from app.schemas.problem import Problem


class StreamLine(StrictModel):
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
