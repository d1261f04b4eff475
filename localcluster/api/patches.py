"""The three patches of a Kubernetes API beside server-side apply: merge, JSON and strategic merge."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from localcluster.api.errors import ApiError, bad_request
from localcluster.api.merge_schema import MergeSchema, merge_schema
from localcluster.api.resources import Resource
from localcluster.render import Object

_MOST_OPERATIONS = 10_000
_LARGEST_OBJECT = 3 << 20
_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"


def merge_patch(current: Object, patch: Object) -> Object:
    """Applies a JSON merge patch (RFC 7386): maps merge, null deletes, everything else replaces."""
    return copied(_merged(current, patch))


def json_patch(current: Object, operations: list[Any]) -> Object:
    """Applies a JSON patch (RFC 6902).

    Raises:
        ApiError: 400 for what is no JSON patch; 422 if it does not fit the object, as when a `test` fails;
            413 if it is, or makes the object, too large.
    """
    import jsonpatch
    import orjson
    from jsonpointer import JsonPointerException

    if len(operations) > _MOST_OPERATIONS:
        raise _too_large(f"a JSON patch may have {_MOST_OPERATIONS} operations, not {len(operations)}")
    patched: Any = copied(current)
    for operation in operations:
        try:
            patched = jsonpatch.JsonPatch([operation]).apply(patched, in_place=True)
        except (jsonpatch.InvalidJsonPatch, AttributeError, TypeError, KeyError) as error:
            raise bad_request(f"the JSON patch cannot be read: {error}") from error
        except jsonpatch.JsonPatchTestFailed as error:
            message = f"the JSON patch does not apply: testing {operation['path']} failed"
            raise ApiError(422, "Invalid", message) from error
        except (jsonpatch.JsonPatchException, JsonPointerException, ValueError) as error:
            raise ApiError(422, "Invalid", f"the JSON patch does not apply: {error}") from error
        # Copies of copies grow beyond all bounds.
        if operation["op"] == "copy" and len(orjson.dumps(patched)) > _LARGEST_OBJECT:
            raise _too_large(f"the JSON patch makes an object of more than {_LARGEST_OBJECT} bytes")
    if not isinstance(patched, dict):
        raise ApiError(422, "Invalid", "the JSON patch leaves no object")
    return patched


def strategic_merge_patch(current: Object, patch: Object, resource: Resource) -> Object:
    """Applies a strategic merge patch: lists with a merge key merge item by item.

    Raises:
        ApiError: 415 for a custom resource; 400 for a directive that cannot be followed.
    """
    if resource.custom:
        raise ApiError(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        )
    return copied(_strategic_map(current, patch, merge_schema(resource)))


def copied(item: Object) -> Object:
    """A copy that shares nothing with its original."""
    import orjson

    copy: Object = orjson.loads(orjson.dumps(item))
    return copy


def _merged(current: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(current) if isinstance(current, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def _strategic_map(current: Any, patch: Object, schema: MergeSchema) -> Object:
    directive = patch.get(_DIRECTIVE, "merge")
    if directive == "delete":
        return {}
    if directive not in ("merge", "replace"):
        raise bad_request(f"unknown patch directive {_DIRECTIVE}: {directive!r}; use merge, replace or delete")
    replaces = directive == "replace" or not isinstance(current, dict)
    merged: Object = {} if replaces else dict(current)
    if _RETAIN in patch:
        if not isinstance(patch[_RETAIN], list):
            raise bad_request(f"{_RETAIN} must be a list")
        merged = {key: value for key, value in merged.items() if key in patch[_RETAIN]}
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _strategic(merged.get(key), value, schema.field(key))
    for key, value in patch.items():
        if key.startswith(_DELETE):
            _delete_values(merged, key.removeprefix(_DELETE), value)
    for key, value in patch.items():
        if key.startswith(_ORDER):
            name = key.removeprefix(_ORDER)
            _set_order(merged, name, value, schema.field(name), (current or {}).get(name) or [])
    return merged


def _strategic(current: Any, patch: Any, schema: MergeSchema) -> Any:
    if isinstance(patch, dict):
        return _strategic_map(None if "replace" in schema.strategies else current, patch, schema)
    if isinstance(patch, list):
        return _strategic_list(current if isinstance(current, list) else [], patch, schema)
    return patch


def _strategic_list(current: list[Any], patch: list[Any], schema: MergeSchema) -> list[Any]:
    if "merge" not in schema.strategies:
        return patch
    key = schema.merge_key
    if not key:
        return _ordered([*current, *patch], patch, current, key)
    if {_DIRECTIVE: "replace"} in patch:
        return [item for item in patch if item != {_DIRECTIVE: "replace"}]
    merged = {_identity(item, key): item for item in current}
    for item in patch:
        if not isinstance(item, dict):
            raise bad_request(f"items of this list must be maps with the key {key!r}, not {item!r}")
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        name = _identity(item, key)
        if item.get(_DIRECTIVE) == "delete":
            merged.pop(name, None)
        else:
            merged[name] = _strategic_map(merged.get(name), item, schema.item())
    return _ordered(list(merged.values()), patch, current, key)


def _delete_values(merged: Object, name: str, values: Any) -> None:
    if not isinstance(values, list):
        raise bad_request(f"{_DELETE}{name} must be a list")
    if isinstance(merged.get(name), list):
        gone = {_identity(value, "") for value in values}
        merged[name] = [value for value in merged[name] if _identity(value, "") not in gone]


def _set_order(merged: Object, name: str, order: Any, schema: MergeSchema, live: list[Any]) -> None:
    if not isinstance(order, list):
        raise bad_request(f"{_ORDER}{name} must be a list")
    if isinstance(merged.get(name), list):
        merged[name] = _ordered(merged[name], order, live, schema.merge_key)


def _ordered(items: list[Any], wanted: list[Any], live: list[Any], key: str) -> list[Any]:
    """Items in the wanted order; what is not in it stands before those that it stood before in the live list."""
    there = {_identity(item, key): item for item in items}
    rank = {_identity(item, key): place for place, item in reversed(list(enumerate(live)))}
    first = [name for name in dict.fromkeys(_identity(item, key) for item in wanted) if name in there]
    rest = deque(sorted(there.keys() - set(first), key=lambda name: rank.get(name, len(rank))))
    ordered: list[str] = []
    for name in first:
        while rest and rank.get(rest[0], len(rank)) < rank.get(name, 0):
            ordered.append(rest.popleft())
        ordered.append(name)
    return [there[name] for name in [*ordered, *rest]]


def _identity(item: Any, key: str) -> str:
    """What tells an item apart: the value of its key, or itself."""
    return json.dumps(item.get(key) if key and isinstance(item, dict) else item, sort_keys=True)


def _too_large(message: str) -> ApiError:
    return ApiError(413, "RequestEntityTooLarge", message)
