"""The OpenAPI document has all that generators of clients need: names, examples, descriptions."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.core.errors import OverloadedError, UnauthorizedError
from app.serving.api.problems import PROBLEM_MEDIA_TYPE
from tests.support.application import InProcessApp

JSON = "application/json"
KEY = "a-key-of-good-length"


@pytest.fixture(scope="module", params=["open", "key"])
def document(request, checkpoint) -> dict[str, Any]:
    settings = {"api_keys": KEY, "metrics_access": request.param, "docs_access": request.param}
    return InProcessApp(checkpoint, run=lambda _: [], settings=settings).app.openapi()


@pytest.fixture(scope="module")
def client(checkpoint):
    settings = {"max_batch_ads": 8, "max_body_bytes": 4096}
    with InProcessApp(checkpoint, settings=settings).client() as client:
        yield client


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


def test_every_json_body_and_answer_has_a_named_schema(operations):
    for name, operation in operations.items():
        assert operation["summary"], name
        assert operation["description"], name
        for media_type, content in contents(operation):
            if "json" in media_type:
                assert set(content["schema"]) == {"$ref"}, (name, media_type)


def test_fields_of_several_types_have_a_named_one(document):
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


def test_every_error_has_a_cause_and_a_valid_example(document, operations):
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
def test_the_headers_of_errors_are_described_with_each(operations, error, header):
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


def test_the_openapi_document_is_valid_and_describes_every_error(client):
    document = client.get("/openapi.json").json()
    Draft202012Validator.check_schema(document["components"]["schemas"]["Problem"])
    responses = document["paths"]["/classify"]["post"]["responses"]
    assert set(responses) == {
        *("200", "400", "401", "408", "413", "415", "422", "429", "500", "503", "504")
    }
    for status, response in responses.items():
        if status != "200":
            assert list(response["content"]) == ["application/problem+json"]
    names = document["components"]["schemas"]
    assert {"ClassifyRequest", "ClassifyResponse", "BatchRequest", "Problem"} <= set(names)
    assert "HTTPValidationError" not in names


def test_examples_of_requests_are_accepted(client):
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        for example in schema.get("examples", []):
            Draft202012Validator({**schema, "components": document["components"]}).validate(example)
            if name == "ClassifyRequest":
                assert client.post("/classify", json=example).status_code == 200
