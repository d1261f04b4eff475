"""OpenAPI v3 documents, one per group version: what kubectl needs to validate, diff, apply and explain.

Every kind comes with its schema, for `kubectl explain`; kubectl leaves validation to the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from localcluster.api.merge_schema import KUBERNETES, definition_of, definitions
from localcluster.api.resources import RESOURCES, Resource
from localcluster.render import Object

_ROOT = "/openapi/v3"
_LEGACY = "/openapi/v2"
LEGACY_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
# `swagger: "2.0"`: field 1, two bits for "bytes", the length, the text.
_EMPTY_LEGACY = b"\x0a\x032.0"
_SCHEMAS = "#/components/schemas/"
_PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
_STRATEGIC = "application/strategic-merge-patch+json"
_INFO = {"title": "Kubernetes", "version": f"v{KUBERNETES}.0"}


def document(path: str) -> Object | None:
    """The OpenAPI document at a path such as `/openapi/v3/apis/apps/v1`; None if there is none.

    Args:
        path: Path of the request; a slash at its end does not matter.
    """
    path = path.rstrip("/")
    if path == _ROOT:
        return {"paths": {place: {"serverRelativeURL": f"{_ROOT}/{place}"} for place in _places()}}
    served = _places().get(path.removeprefix(f"{_ROOT}/"))
    return _group_version(served) if served else None


def legacy_document(path: str) -> bytes | None:
    """The OpenAPI v2 document, in the protobuf that kubectl asks for; None for any other path.

    It is empty. kubectl reads it only before it applies a `kind: List`, and then leaves validation to the server.
    """
    return _EMPTY_LEGACY if path.rstrip("/") == _LEGACY else None


def _places() -> dict[str, tuple[Resource, ...]]:
    places: dict[str, tuple[Resource, ...]] = {}
    for resource in RESOURCES:
        place = f"apis/{resource.api_version}" if resource.group else f"api/{resource.version}"
        places[place] = (*places.get(place, ()), resource)
    return places


@cache
def _group_version(served: tuple[Resource, ...]) -> Object:
    schemas: dict[str, Object] = {}
    paths: dict[str, Object] = {}
    for resource in served:
        name = definition_of(resource.api_version, resource.kind)
        if name:
            _collect(name, definitions(), schemas)
        else:
            name = f"{resource.group}.{resource.version}.{resource.kind}"
            schemas[name] = _custom_schema(resource, schemas)
        schemas[name] = {**schemas[name], "x-kubernetes-group-version-kind": [_group_version_kind(resource)]}
        collection = resource.path("{namespace}" if resource.namespaced else "")
        paths[collection] = {"get": _operation(resource, "list", name)}
        paths[f"{collection}/{{name}}"] = {
            "get": _operation(resource, "get", name),
            "patch": {
                **_operation(resource, "patch", name),
                "parameters": [_query(each) for each in ("dryRun", "fieldManager", "fieldValidation")],
                "requestBody": {
                    "content": {
                        type_: {"schema": {"type": "object"}}
                        for type_ in (*_PATCHES, *(() if resource.custom else (_STRATEGIC,)))
                    }
                },
            },
        }
    return {"openapi": "3.0.0", "info": _INFO, "paths": paths, "components": {"schemas": schemas}}


def _operation(resource: Resource, action: str, schema: str) -> Object:
    content = {"application/json": {"schema": {"$ref": _SCHEMAS + schema}}}
    return {
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _group_version_kind(resource),
        "responses": {"200": {"description": "OK", "content": content}},
    }


def _query(name: str) -> Object:
    return {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}


def _group_version_kind(resource: Resource) -> dict[str, str]:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _custom_schema(resource: Resource, schemas: dict[str, Object]) -> Object:
    from localcluster.schemas.kinds import structure

    found = structure(resource.api_version, resource.kind)
    if found is None:
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    for reference in _references(found.root):
        _collect(reference, found.definitions, schemas)
    schema: Object = _openapi(found.root)
    return schema


def _collect(name: str, known: Mapping[str, Object], schemas: dict[str, Object]) -> None:
    """Adds a definition and all that it refers to."""
    if name in schemas:
        return
    schemas[name] = _openapi(known[name])
    for reference in _references(known[name]):
        _collect(reference, known, schemas)


def _references(node: Any) -> set[str]:
    if isinstance(node, list):
        return {name for part in node for name in _references(part)}
    if not isinstance(node, dict):
        return set()
    own = {_name(node["$ref"])} if isinstance(node.get("$ref"), str) else set()
    return own | {name for part in node.values() for name in _references(part)}


def _openapi(node: Any) -> Any:
    """JSON Schema as OpenAPI 3.0: one type, references among components."""
    if isinstance(node, list):
        return [_openapi(part) for part in node]
    if not isinstance(node, dict):
        return node
    # The server's own schemas have functions in place of CEL under `rules`; it may also be the name of a field.
    made = {key: _openapi(part) for key, part in node.items() if key != "rules" or isinstance(part, dict)}
    reference, types = made.get("$ref"), made.get("type")
    if isinstance(reference, str):
        del made["$ref"]
        # A reference has no siblings in OpenAPI 3.0.
        return {**made, "allOf": [{"$ref": _SCHEMAS + _name(reference)}]}
    if isinstance(types, list):
        made["type"] = next(type_ for type_ in types if type_ != "null")
    return made


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]
