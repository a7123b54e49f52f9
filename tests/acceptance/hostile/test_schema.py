"""Requests that schemathesis derives from the OpenAPI document, sent to a real server."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error, positive_data_acceptance

from tests.acceptance.hostile.wire import KEY, Answer, Contract

pytestmark = pytest.mark.server

HEADERS = {"Authorization": f"Bearer {KEY}"}
SHOWS_NOTHING = "of the request shows no text; "
CASES = 450
"""Requests for each path and mode; with `test_fuzz` more than 20,000 in all."""


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("path", ["/classify", "/classify/batch", "/classify/jobposting"])
def test_routes_follow_the_openapi_document(
    server: str, contract: Contract, path: str, mode: GenerationMode
) -> None:
    """A valid request is answered and an invalid one refused, both as documented."""
    operation = schemathesis.openapi.from_dict(contract.document)[path]["POST"]
    asked = 0

    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        nonlocal asked
        asked += 1
        response = case.call(base_url=server, headers=HEADERS)
        # A 504 is documented, and a very short deadline causes it.
        excluded = [not_a_server_error]
        if response.status_code == 422 and SHOWS_NOTHING in response.text:
            # No schema can express that HTML has no visible text.
            excluded.append(positive_data_acceptance)
        case.validate_response(response, excluded_checks=excluded)
        assert response.status_code != 500
        headers = {name.lower(): ", ".join(values) for name, values in response.headers.items()}
        answer = Answer(response.status_code, headers, response.content)
        contract.check("POST", path, answer)

    ask()
    assert asked >= CASES
