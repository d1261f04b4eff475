"""KServe's v1 requests for rows of features: objects by name, or arrays by position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blueprints.schema import Column
from inference_services.serving.columns import FeatureColumns
from inference_services.serving.errors import Location, refuse

INSTANCES = "instances"


def read_instances(body: Any, *, max_rows: int) -> list[Any]:
    """The instances of a v1 request.

    Raises:
        RequestError: There are none, too many, or something else beside them.
    """
    if type(body) is not dict:
        raise refuse(("body",), "must be an object with 'instances'", "dict_type")
    for key in body:
        if key != INSTANCES:
            raise refuse(("body", key[:80]), "unknown field; give 'instances' only", "extra_forbidden")
    instances = body.get(INSTANCES)
    if type(instances) is not list:
        kind = "list_type" if INSTANCES in body else "missing"
        raise refuse(("body", INSTANCES), "must be an array with one entry a row", kind)
    if not instances:
        raise refuse(("body", INSTANCES), "is empty: send at least one row", "too_short")
    if len(instances) > max_rows:
        raise refuse(("body", INSTANCES), f"at most {max_rows} rows in one request, not {len(instances)}", "too_long")
    return instances


def instances_schema(instance: dict[str, Any], *, max_rows: int) -> dict[str, Any]:
    """JSON Schema of a v1 request whose instances have this schema."""
    return {
        "type": "object",
        "required": [INSTANCES],
        "additionalProperties": False,
        "properties": {INSTANCES: {"type": "array", "items": instance, "minItems": 1, "maxItems": max_rows}},
    }


class FeatureInstances:
    """Reads instances that are rows of features.

    Args:
        columns: The model's inputs.
    """

    def __init__(self, columns: FeatureColumns) -> None:
        self._columns = columns

    def matrix(self, instances: Sequence[Any], positions: Sequence[int] | None = None) -> NDArray[np.float32]:
        """The feature matrix, see `FeatureColumns.matrix`.

        Args:
            instances: Rows.
            positions: Where each of them stands in the request; 0, 1, 2 … by default.

        Raises:
            RequestError: A row has other columns, or a value is refused.
        """
        places = range(len(instances)) if positions is None else positions
        names = self._columns.names
        columns: dict[str, list[Any]] = {name: [] for name in names}
        for index, instance in zip(places, instances, strict=True):
            if type(instance) is list and len(instance) == len(names):
                values = instance
            elif type(instance) is dict and instance.keys() == columns.keys():
                values = [instance[name] for name in names]
            else:
                raise self._malformed(index, instance)
            for name, value in zip(names, values, strict=True):
                columns[name].append(value)
        return self._columns.matrix(columns, lambda name, row: ("body", INSTANCES, places[row], name))

    def schema(self) -> dict[str, Any]:
        """JSON Schema of one row."""
        row = {column.name: _value_schema(column) for column in self._columns.columns}
        return {
            "oneOf": [
                {"type": "object", "required": list(row), "properties": row, "additionalProperties": False},
                {
                    "type": "array",
                    "prefixItems": list(row.values()),
                    "items": False,
                    "minItems": len(row),
                    "maxItems": len(row),
                },
            ]
        }

    def _malformed(self, index: int, instance: Any) -> Exception:
        names = self._columns.names
        loc: Location = ("body", INSTANCES, index)
        if type(instance) is list:
            message = f"must hold {len(names)} numbers, not {len(instance)}: {', '.join(names)}"
            return refuse(loc, message, "length_mismatch")
        if type(instance) is not dict:
            return refuse(loc, "must be an array of numbers or an object", "dict_type")
        for name in names:
            if name not in instance:
                return refuse((*loc, name), "is missing", "missing")
        extra = next(key for key in instance if key not in names)
        message = f"no column has this name; known are {', '.join(names)}"
        return refuse((*loc, extra[:80]), message, "extra_forbidden")


def _value_schema(column: Column) -> dict[str, Any]:
    """JSON Schema of a number or code."""
    schema: dict[str, Any] = {"title": column.label, "type": "number" if column.kind == "number" else "integer"}
    if column.kind == "category":
        codes = ", ".join(f"{code} = {label}" for code, label in enumerate(column.categories))
        schema |= {"minimum": 0, "maximum": len(column.categories) - 1, "description": codes}
    else:
        bounds = {"minimum": column.minimum, "maximum": column.maximum}
        schema |= {bound: value for bound, value in bounds.items() if value is not None}
    if column.nullable:
        schema["type"] = [schema["type"], "null"]
    return schema
