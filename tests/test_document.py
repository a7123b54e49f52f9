"""The OpenAPI document as generators of clients need it: named, exemplified, described."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.errors import OverloadedError, UnauthorizedError
from app.serving.api.problems import PROBLEM_MEDIA_TYPE
from tests.serving import App

JSON = "application/json"
KEY = "a-key-of-good-length"


@pytest.fixture(scope="module", params=["open", "key"])
def document(request, checkpoint) -> dict[str, Any]:
    settings = {"api_keys": KEY, "metrics_access": request.param, "docs_access": request.param}
    return App(checkpoint, run=lambda _: [], settings=settings).app.openapi()


@pytest.fixture
def operations(document) -> dict[str, dict[str, Any]]:
    return {
        f"{verb.upper()} {path}": operation
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    }


def validate(document: dict[str, Any], schema: dict[str, Any], example: object) -> None:
    Draft202012Validator({**schema, "components": document["components"]}).validate(example)


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the media type and description of everything that is sent or answered."""
    for part in (operation.get("requestBody", {}), *operation["responses"].values()):
        yield from part.get("content", {}).items()


def test_operations_have_short_names_of_their_own(operations):
    names = Counter(operation["operationId"] for operation in operations.values())
    assert set(names.values()) == {1}, names
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+){0,2}", name) for name in names)
    assert {"classify", "classify_batch", "classify_jobposting", "get_model"} <= set(names)


def test_whatever_is_sent_or_answered_as_json_has_a_named_schema(operations):
    for name, operation in operations.items():
        assert operation["summary"], name
        assert operation["description"], name
        for media_type, content in contents(operation):
            if "json" in media_type:
                assert set(content["schema"]) == {"$ref"}, (name, media_type)


def test_a_field_is_of_a_named_type_wherever_it_may_be_of_several(document):
    for name, schema in document["components"]["schemas"].items():
        assert schema.get("description") or "properties" not in schema, f"{name} is not explained"
        for field, of in schema.get("properties", {}).items():
            union = [one for one in of.get("anyOf", []) if one != {"type": "null"}]
            assert len(union) <= 1, f"{name}.{field} is an anonymous union"
            for one in (of, *union):
                assert "properties" not in one, f"{name}.{field} is an anonymous object"
                assert "enum" not in one or name == "Health", f"{name}.{field} is an anonymous enum"


def test_bodies_and_answers_have_examples_that_are_valid(document, operations):
    schemas = document["components"]["schemas"]
    for name, operation in operations.items():
        for media_type, content in contents(operation):
            if media_type == JSON:
                examples = schemas[content["schema"]["$ref"].split("/")[-1]].get("examples")
                assert examples, f"{name}: {content} has no example"
                for example in examples:
                    validate(document, content["schema"], example)


def test_every_error_says_when_it_comes_and_what_it_looks_like(document, operations):
    for name, operation in operations.items():
        for status, response in operation["responses"].items():
            if int(status) < 400:
                continue
            title, _, when = response["description"].partition(". ")
            assert when, f"{name}: {status} does not say when it comes"
            content = response["content"][PROBLEM_MEDIA_TYPE]
            (example,) = (one["value"] for one in content["examples"].values())
            validate(document, content["schema"], example)
            assert (example["status"], example["title"]) == (int(status), title)
            assert example["detail"] == when


@pytest.mark.parametrize(
    ("error", "header"),
    [(OverloadedError, "Retry-After"), (UnauthorizedError, "WWW-Authenticate")],
)
def test_the_headers_to_act_on_are_described_wherever_the_error_may_come(operations, error, header):
    described = [
        operation["responses"][str(error.status)]["headers"]
        for operation in operations.values()
        if str(error.status) in operation["responses"]
    ]
    assert described
    assert all(headers[header]["required"] for headers in described)


def test_what_an_answer_always_holds_is_required(document):
    schemas = document["components"]["schemas"]
    for name in ("ClassifyResponse", "JobPostingAnswer", "CategoryCode", "Credential"):
        # An explanation is there where it was asked for.
        always = set(schemas[name]["properties"]) - {"explanation"}
        assert set(schemas[name]["required"]) == always, name
    assert "required" not in schemas["Patch"]
