import pytest
from pydantic import ValidationError

from app.schemas.fields import StrictModel, Text, TopK


class Model(StrictModel):
    text: Text = "a"
    top_k: TopK = 3


def test_an_unknown_field_is_an_error():
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Model.model_validate({"texts": "a"})


def test_a_model_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Model().text = "b"


@pytest.mark.parametrize("text", ["", " \n\t", "\u00a0", "\x85", "\ufeff", "\x85\ufeff\u2003"])
def test_a_text_without_visible_characters_is_refused(text):
    with pytest.raises(ValidationError, match="pattern"):
        Model(text=text)


def test_a_whole_float_is_taken_as_an_integer():
    assert Model.model_validate({"top_k": 5.0}).top_k == 5
    with pytest.raises(ValidationError, match="fractional part"):
        Model.model_validate({"top_k": 5.5})


def test_the_limits_of_top_k_stand_in_the_schema():
    schema = Model.model_json_schema()["properties"]["top_k"]
    assert (schema["minimum"], schema["maximum"]) == (1, 1000)
