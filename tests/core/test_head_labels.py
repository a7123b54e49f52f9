import pytest
from pydantic import ValidationError

from app.core.head_labels import Head, first_repeated, labels_of


def test_json_round_trip_keeps_the_order_of_labels():
    head = Head(labels=("b", "a", "c"), names={"de": ("B", "A", "C")}, temperature=1.5)
    read_back = Head.model_validate_json(head.model_dump_json())
    assert read_back == head
    assert read_back.labels == ("b", "a", "c")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"labels": []}, "at least 2"),
        ({"labels": ["only"]}, "at least 2"),
        ({"labels": ["a", ""]}, "at least 1 character"),
        ({"labels": ["a", "x" * 201]}, "at most 200"),
        ({"labels": ["a", "b", "a"]}, "'a' appears twice"),
        ({"labels": "ab"}, "valid tuple"),
        ({"labels": ["a", 1]}, "valid string"),
        ({"labels": ["a", "b"], "names": {"de": ["A"]}}, "1 names in 'de' do not fit 2 labels"),
        ({"labels": ["a", "b"], "temperature": 0}, "greater than 0"),
        ({"labels": ["a", "b"], "temperature": float("nan")}, "less than or equal"),
        ({"labels": ["a", "b"], "temperature": float("inf")}, "less than or equal"),
        ({"labels": ["a", "b"], "temperature": 101}, "less than or equal"),
        ({"labels": ["a", "b"], "colour": "red"}, "Extra inputs"),
        ({"labels": ["a", "b"], "codes": {"kldb": [["1"]]}}, "for 1 labels do not fit 2 labels"),
        ({"labels": ["a", "b"], "codes": {"kldb": [["1", "2", "1"], []]}}, "kldb code '1' twice"),
        ({"labels": ["a", "b"], "codes": {"kldb": [[""], []]}}, "at least 1 character"),
        ({"labels": ["a", "b"], "codes": {"kldb": [[1], []]}}, "valid string"),
        ({"labels": ["a", "b"], "codes": {"kldb": ["1", "2"]}}, "valid tuple"),
        ({"labels": ["a", "b"], "codes": {"Kld B": [[], []]}}, "match pattern"),
        ({"labels": ["a", "b"], "codes": {"credential": [["PhD"], []]}}, "known are no requirem"),
    ],
)
def test_malformed_head_is_rejected_with_the_reason(fields, problem):
    with pytest.raises(ValidationError, match=problem):
        Head.model_validate(fields)


def test_head_is_immutable():
    head = Head(labels=("a", "b"))
    with pytest.raises(ValidationError, match="frozen"):
        head.temperature = 2.0


def test_first_repeated_returns_the_first_duplicate():
    assert first_repeated(["a", "b", "c"]) is None
    assert first_repeated(["a", "b", "b", "a"]) == "b"
    assert first_repeated([]) is None


def test_codes_and_display_names_are_looked_up_by_index():
    head = Head(
        labels=("a", "b"),
        names={"de": ("A", "B"), "en": ("C", "D")},
        codes={"kldb": (("1", "2"), ()), "isco": (("1",), ("1",))},
    )
    assert head.codes_of(0) == {"kldb": ("1", "2"), "isco": ("1",)}
    assert head.codes_of(1) == {"isco": ("1",)}
    assert head.name_of(1) == "B"
    assert Head(labels=("a", "b")).name_of(1) == "b"
    assert Head.model_validate_json(head.model_dump_json()) == head


def test_labels_of_returns_the_labels_of_each_head():
    heads = {"x": Head(labels=("b", "a")), "y": Head(labels=("c", "d"))}
    assert labels_of(heads) == {"x": ("b", "a"), "y": ("c", "d")}
