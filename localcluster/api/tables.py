"""Tables: what `kubectl get` prints, made by the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from localcluster.api.jsonpath import find
from localcluster.api.printing import age, cells
from localcluster.api.resources import EVENTS, Column, Resource
from localcluster.render import Object

_NAME = Column("Name", ".metadata.name")
_AGE = Column("Age", ".metadata.creationTimestamp", "date")


def table(resource: Resource, items: Sequence[Object], *, list_metadata: Object, include: str) -> Object:
    """Objects as a Table of `meta.k8s.io/v1`.

    Args:
        resource: What they are.
        items: The objects.
        list_metadata: Metadata of the list, with its resourceVersion.
        include: What each row carries beside its cells: `None`, `Metadata` or `Object`.
    """
    columns = _columns(resource)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_metadata,
        "columnDefinitions": [_definition(column) for column in columns],
        "rows": [
            {"cells": [_cell(resource, item, column) for column in columns], **_object(resource, item, include)}
            for item in items
        ],
    }


def _columns(resource: Resource) -> tuple[Column, ...]:
    if resource is EVENTS:
        return (*resource.columns, Column("Name", ".metadata.name", wide=True))
    always = tuple(column for column in resource.columns if not column.wide)
    wide = tuple(column for column in resource.columns if column.wide)
    return (_NAME, *always, _AGE, *wide)


def _definition(column: Column) -> Object:
    return {
        "name": column.name,
        # Dates are sent as ages.
        "type": "string" if column.type == "date" else column.type,
        "format": "name" if column.name == "Name" else "",
        "description": "",
        "priority": int(column.wide),
    }


def _cell(resource: Resource, item: Object, column: Column) -> Any:
    if not column.path:
        return cells(resource.plural)[column.name](item)
    found = find(item, column.path)
    if column.type == "date":
        return age(found[0]) if found else "<unknown>" if column is _AGE else "<none>"
    if not found:
        return None if resource.custom else "<none>"
    return found[0] if column.type in {"integer", "boolean"} else " ".join(map(_text, found))


def _text(value: Any) -> str:
    import orjson

    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _object(resource: Resource, item: Object, include: str) -> Object:
    if include == "None":
        return {}
    if include == "Object":
        return {"object": {"apiVersion": resource.api_version, "kind": resource.kind, **item}}
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    return {"object": {**partial, "metadata": item["metadata"]}}
