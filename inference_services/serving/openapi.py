"""The OpenAPI document of a server, from the operations that it really has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inference_services.serving.model import Operation

_ERRORS = {
    408: "The body did not arrive in time",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "The content is refused, with the reason for each place",
    429: "Overloaded: try again after `Retry-After` seconds",
    500: "A fault of the server",
    503: "Not ready, or what it depends on is not: try again",
    504: "Took too long",
}
_ERROR_SCHEMA = {
    "type": "object",
    "required": ["detail"],
    "additionalProperties": False,
    "properties": {
        "detail": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["loc", "msg", "type"],
                "additionalProperties": False,
                "properties": {
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "msg": {"type": "string"},
                    "type": {"type": "string"},
                },
            },
        }
    },
}


def openapi(title: str, version: str, operations: Sequence[Operation], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """The document, OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {"schemas": {"Error": _ERROR_SCHEMA, **schemas}},
    }


def _operation(operation: Operation) -> dict[str, Any]:
    media_types = operation.media_types if operation.tag == "health" and operation.media_types else None
    content = {media: {"schema": operation.response} for media in media_types or ("application/json",)}
    if media_types is None:
        content |= {media: {"schema": {"type": "string"}} for media in operation.media_types}
    errors = {**(_ERRORS if operation.request else {500: _ERRORS[500]}), **operation.responses}
    document: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": f"{operation.method.lower()}{operation.path}",
        "tags": [operation.tag],
        "responses": {
            "200": {"description": "OK", "content": content},
            **{str(status): _error(text) for status, text in sorted(errors.items())},
        },
    }
    if operation.request:
        body: dict[str, Any] = {"schema": operation.request}
        if operation.example is not None:
            body["example"] = operation.example
        document["requestBody"] = {"required": True, "content": {"application/json": body}}
    return document


def _error(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
