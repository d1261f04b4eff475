"""Who owns which field of an object: `metadata.managedFields` and its FieldsV1 sets.

A field is a path of FieldsV1 elements: `f:<name>` in a map, `k:<keys>` for an item of a keyed list, `v:<value>` for an
item of a set. A set of fields is then a plain set of paths.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from localcluster.api.merge_schema import MergeSchema
from localcluster.render import Object

Path = tuple[str, ...]
FieldSet = frozenset[Path]

# Nobody owns what names an object or what the server fills in.
_UNOWNED = frozenset({"apiVersion", "kind"})
_UNOWNED_METADATA = frozenset(
    {
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "managedFields",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    }
)


class _Branch:
    """Value of a field that is only the sum of the fields below it."""


_BRANCH = _Branch()


@dataclass(frozen=True)
class Manager:
    """One who wrote to an object.

    Attributes:
        name: Its name, as in the query `fieldManager`.
        operation: Whether it applies or writes in other ways.
        subresource: The subresource it wrote to, empty for the object itself.
    """

    name: str
    operation: Literal["Apply", "Update"]
    subresource: str = ""


@dataclass(frozen=True)
class Entry:
    """What one manager owns.

    Attributes:
        fields: Its fields.
        api_version: Version in which it wrote last.
        time: When it wrote last.
    """

    fields: FieldSet
    api_version: str
    time: str

    def without(self, fields: FieldSet) -> Entry:
        """The same entry after some fields went to others."""
        return Entry(self.fields - fields, self.api_version, self.time)


Managers = Mapping[Manager, Entry]


@dataclass(frozen=True)
class Fields:
    """Every field of an object.

    Attributes:
        values: Value of each field.
        own: The fields that one owns who wrote all of the object: its leaves and the items of its lists.
    """

    values: Mapping[Path, Any]
    own: FieldSet


@dataclass(frozen=True)
class Changes:
    """How one object differs from another, by fields that can be owned."""

    written: FieldSet
    removed: FieldSet

    def __bool__(self) -> bool:
        return bool(self.written or self.removed)


def fields_of(item: Object, schema: MergeSchema) -> Fields:
    """The fields of an object, without those that nobody owns."""
    metadata = item.get("metadata") or {}
    owned = {key: value for key, value in item.items() if key not in _UNOWNED}
    owned["metadata"] = {key: value for key, value in metadata.items() if key not in _UNOWNED_METADATA}
    if not owned["metadata"]:
        del owned["metadata"]
    values = dict(_walk(owned, schema, ()))
    values.pop((), None)
    # An item of a list is owned beside its fields; a map only if it is empty.
    parents = {path[:-1] for path in values}
    own = {path for path in values if path not in parents or path[-1][0] in "kv"}
    return Fields(values, frozenset(own))


def changes(before: Fields, after: Fields) -> Changes:
    """What was written and what was removed between two states of an object."""
    missing = object()
    written = {path for path in after.own if before.values.get(path, missing) != after.values[path]}
    return Changes(frozenset(written), frozenset(before.values.keys() - after.values.keys()))


def elements(items: list[Any], schema: MergeSchema) -> list[str] | None:
    """The FieldsV1 element of each item of a list; None if the list is owned as a whole."""
    if schema.list_type == "set":
        return [f"v:{_compact(item)}" for item in items]
    if schema.list_type == "map" and all(isinstance(item, dict) for item in items):
        keys = schema.list_keys
        return [f"k:{_compact(dict(zip(keys, schema.key_of(item), strict=True)))}" for item in items]
    return None


def managers_of(item: Object | None) -> dict[Manager, Entry]:
    """The managers of an object."""
    found = {}
    for entry in ((item or {}).get("metadata") or {}).get("managedFields") or ():
        if entry.get("manager"):
            manager = Manager(entry["manager"], entry.get("operation", "Update"), entry.get("subresource", ""))
            fields = frozenset(_decoded(entry.get("fieldsV1") or {}, ()))
            found[manager] = Entry(fields, entry.get("apiVersion", ""), entry.get("time", ""))
    return found


def with_managers(item: Object, managers: Managers) -> Object:
    """The object with these managers; those that own nothing are left out."""
    metadata = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    entries = [_entry(manager, entry) for manager, entry in managers.items() if entry.fields]
    return {**item, "metadata": {**metadata, **({"managedFields": entries} if entries else {})}}


def encoded(fields: Iterable[Path]) -> Object:
    """A set of fields as FieldsV1."""
    paths = sorted(fields)
    root: Object = {}
    for path in paths:
        node = root
        for element in path:
            node = node.setdefault(element, {})
    # What is owned itself and has owned fields below is marked by a dot.
    for path in paths:
        node = root
        for element in path:
            node = node[element]
        if node:
            node["."] = {}
    return root


def readable(path: Path) -> str:
    """A field as messages name it: `.spec.containers[name="web"].image`."""
    parts = []
    for element in path:
        kind, _, text = element.partition(":")
        if kind == "k":
            keys = ",".join(f"{key}={_compact(value)}" for key, value in sorted(json.loads(text).items()))
            parts.append(f"[{keys}]")
        else:
            parts.append(f"[={text}]" if kind == "v" else f".{text}")
    return "".join(parts)


def _walk(value: Any, schema: MergeSchema, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and not schema.atomic:
        yield path, _BRANCH
        for key, part in value.items():
            yield from _walk(part, schema.field(key), (*path, f"f:{key}"))
    elif isinstance(value, list) and (named := elements(value, schema)) is not None:
        yield path, _BRANCH
        for element, item in zip(named, value, strict=True):
            yield from _walk(item, schema.item(), (*path, element))
    else:
        yield path, value


def _decoded(node: Any, path: Path) -> Iterator[Path]:
    # A client may write this, so it can hold anything.
    below_here = node if isinstance(node, dict) else {}
    if path and (not below_here or "." in below_here):
        yield path
    for element, below in below_here.items():
        if element != ".":
            yield from _decoded(below, (*path, element))


def _entry(manager: Manager, entry: Entry) -> Object:
    return {
        "manager": manager.name,
        "operation": manager.operation,
        "apiVersion": entry.api_version,
        "time": entry.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": encoded(entry.fields),
        **({"subresource": manager.subresource} if manager.subresource else {}),
    }


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
