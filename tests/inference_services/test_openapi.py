"""Schemathesis against each server's own OpenAPI document: no 5xx, and answers as documented."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
EXAMPLES = 12


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("role", ["predictor", "transformer", "explainer"])
def test_every_operation_answers_as_documented(role, mode, request):
    server = request.getfixturevalue(role)
    document = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    for result in document.get_all_operations():
        operation = result.ok()
        if operation.method == "get" and mode is GenerationMode.NEGATIVE:
            continue  # there is nothing that a client could get wrong

        @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers_as_documented(case):
            response = case.call_and_validate(checks=CHECKS)
            # The v2 schema cannot say that lengths must agree; the others say all there is.
            if mode is GenerationMode.POSITIVE and "/v2/" not in case.path:
                assert response.status_code in (200, 409)

        answers_as_documented()


@pytest.mark.parametrize("role", ["predictor", "transformer", "explainer"])
def test_every_operation_is_documented_with_its_errors(role, request):
    document = request.getfixturevalue(role).client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], path
            if method == "post":
                assert {"200", "413", "415", "422", "429", "503", "504"} <= operation["responses"].keys()
                assert operation["requestBody"]["content"]["application/json"]["schema"]
