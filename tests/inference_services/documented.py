"""Schemathesis against a server's own OpenAPI document."""

from __future__ import annotations

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import APIOperation, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.inference_services.conftest import Running

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
EXAMPLES = 12


def answers_as_documented(server: Running, *accepted: int) -> None:
    """No 5xx, every answer as the document says, and 200 for what fits it, v2 apart, whose lengths must agree.

    Other `accepted` answers are those that depend on what a store holds.
    """
    document = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    for result in document.get_all_operations():
        operation = result.ok()
        if operation.method == "get":
            continue
        for mode in GenerationMode:
            _check(operation, mode, {200, *accepted})


def _check(operation: APIOperation, mode: GenerationMode, accepted: set[int]) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case):
        response = case.call_and_validate(checks=CHECKS)
        if mode is GenerationMode.POSITIVE and "/v2/" not in case.path:
            assert response.status_code in accepted

    check()
