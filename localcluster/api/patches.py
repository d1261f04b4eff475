"""The three patches of a Kubernetes API beside server-side apply: merge, JSON and strategic merge."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from localcluster.api.errors import ApiError, bad_request
from localcluster.api.merge_schema import MergeSchema, merge_schema
from localcluster.api.resources import Resource
from localcluster.render import Object

_Key = TypeVar("_Key", bound=Hashable)

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
        ApiError: 400 for what is no JSON patch; 422 if it does not fit the object, as when a `test` fails.
    """
    import jsonpatch
    from jsonpointer import JsonPointerException

    try:
        patch = jsonpatch.JsonPatch(operations)
    except (jsonpatch.InvalidJsonPatch, JsonPointerException, TypeError, KeyError, AttributeError) as error:
        raise bad_request(f"the JSON patch cannot be read: {error}") from error
    try:
        patched = patch.apply(current)
    except jsonpatch.JsonPatchTestFailed as error:
        raise ApiError(422, "Invalid", f"the JSON patch does not apply: testing failed: {error}") from error
    except (jsonpatch.JsonPatchException, JsonPointerException, TypeError, ValueError) as error:
        raise ApiError(422, "Invalid", f"the JSON patch does not apply: {error}") from error
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


def interleaved(live: Sequence[_Key], wanted: Sequence[_Key]) -> list[_Key]:
    """Merges two orders: that of `wanted`, with what is only in `live` left where it stands among its neighbours."""
    ordered: list[_Key] = []
    chosen = set(wanted)
    placed: set[_Key] = set()
    rest = list(dict.fromkeys(live))
    for key in wanted:
        while rest and (rest[0] not in chosen or rest[0] in placed):
            first = rest.pop(0)
            if first not in chosen:
                ordered.append(first)
        ordered.append(key)
        placed.add(key)
    return ordered + [key for key in rest if key not in chosen]


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
    if directive not in {"merge", "replace"}:
        raise bad_request(f"unknown patch directive {_DIRECTIVE}: {directive!r}; use merge, replace or delete")
    replaces = directive == "replace" or not isinstance(current, dict)
    merged: Object = {} if replaces else dict(current)
    if _RETAIN in patch:
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
    if not schema.merge_key:
        return list(current) + [value for value in patch if value not in current]
    key = schema.merge_key
    if {_DIRECTIVE: "replace"} in patch:
        return [item for item in patch if item != {_DIRECTIVE: "replace"}]
    merged = list(current)
    for item in patch:
        if not isinstance(item, dict):
            raise bad_request(f"items of this list must be maps with the key {key!r}, not {item!r}")
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        places = [index for index, other in enumerate(merged) if other.get(key) == item[key]]
        if item.get(_DIRECTIVE) == "delete":
            merged = [other for index, other in enumerate(merged) if index not in places]
        elif places:
            merged[places[0]] = _strategic_map(merged[places[0]], item, schema.item())
        else:
            merged.append(_strategic_map(None, item, schema.item()))
    return merged


def _delete_values(merged: Object, name: str, values: Any) -> None:
    if not isinstance(values, list):
        raise bad_request(f"{_DELETE}{name} must be a list")
    if isinstance(merged.get(name), list):
        merged[name] = [value for value in merged[name] if value not in values]


def _set_order(merged: Object, name: str, order: Any, schema: MergeSchema, live: list[Any]) -> None:
    if not isinstance(order, list):
        raise bad_request(f"{_ORDER}{name} must be a list")
    items = merged.get(name)
    if not isinstance(items, list):
        return
    key = schema.merge_key
    identity: Callable[[Any], Any] = (lambda item: item.get(key)) if key else (lambda item: item)
    there = {identity(item): item for item in items}
    wanted = [identity(item) for item in order if identity(item) in there]
    before = [identity(item) for item in live if identity(item) in there]
    added = [each for each in there if each not in before]
    merged[name] = [there[each] for each in interleaved([*before, *added], wanted)]
