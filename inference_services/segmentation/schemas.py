"""Bodies of requests and answers that predictor, transformer and explainer share: customers in, segments out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blueprints.segmentation.segments import CONFIDENCE, SEGMENT, Segments
from blueprints.segmentation.transactions import CUSTOMER
from inference_services.serving.errors import MAX_PROBLEMS, Location, Problem, RequestError, refuse
from inference_services.serving.instances import INSTANCES, read_instances
from inference_services.serving.tensors import TensorSpec

CUSTOMERS = "customer_ids"
SEGMENT_ID = "segment_id"
DISTANCES = "distances"
AS_OF = "features_as_of"
VERSION = "model_version"

Locate = Callable[[int], Location]
"""Where the customer of a row stands in a request."""

_LOWEST, _HIGHEST = -(1 << 63), (1 << 63) - 1
_EXACT = 1 << 53
_REFERENCE = "#/components/schemas/"


class Customers:
    """Reads customers by number and describes them in OpenAPI.

    Args:
        max_rows: Most customers in one request.
    """

    def __init__(self, *, max_rows: int) -> None:
        self._max_rows = max_rows

    def read_typed(self, body: Any) -> tuple[list[int], bool]:
        """Customers of `{"customer_id": 123}` or `{"customer_ids": [123, …]}`, and whether it was the first.

        Raises:
            RequestError: The body is neither, or a number is none.
        """
        if type(body) is not dict:
            raise refuse(("body",), f"must be an object with {CUSTOMER!r} or {CUSTOMERS!r}", "dict_type")
        field = next((name for name in (CUSTOMER, CUSTOMERS) if name in body), None)
        for key in body:
            if key != field:
                known = field or f"{CUSTOMER}, {CUSTOMERS}"
                raise refuse(("body", key[:80]), f"unknown field; give {known} only", "extra_forbidden")
        if field is None:
            raise refuse(("body", CUSTOMER), f"is missing: give it, or several as {CUSTOMERS!r}", "missing")
        if field == CUSTOMER:
            return self.check([body[CUSTOMER]], lambda _: ("body", CUSTOMER)), True
        listed, loc = body[CUSTOMERS], ("body", CUSTOMERS)
        if type(listed) is not list:
            raise refuse(loc, "must be an array of customer numbers", "list_type")
        if not listed:
            raise refuse(loc, "is empty: send at least one customer", "too_short")
        if len(listed) > self._max_rows:
            raise refuse(loc, f"at most {self._max_rows} customers in one request, not {len(listed)}", "too_long")
        return self.check(listed, lambda row: (*loc, row)), False

    def read_instances(self, body: Any) -> tuple[list[int], Locate]:
        """Customers of a v1 request and where each stands: `{"instances": [{"customer_id": 123}, 124, …]}`.

        Raises:
            RequestError: There are none, too many, something else is beside them, or a number is none.
        """
        instances = read_instances(body, max_rows=self._max_rows)
        loc = instance_loc(instances)
        return self.of_instances(instances, loc), loc

    def of_instances(self, instances: Sequence[Any], loc: Locate) -> list[int]:
        """Customers of some instances of a v1 request.

        Args:
            instances: Numbers, or objects with a number.
            loc: Where the number of each stands in the request.

        Raises:
            RequestError: An instance is something else.
        """
        for row, instance in enumerate(instances):
            if type(instance) is not dict:
                continue
            if CUSTOMER not in instance:
                raise refuse(loc(row), "is missing", "missing")
            for key in instance:
                if key != CUSTOMER:
                    message = f"unknown field; give {CUSTOMER} only"
                    raise refuse((*loc(row)[:-1], key[:80]), message, "extra_forbidden")
        return self.check([one[CUSTOMER] if type(one) is dict else one for one in instances], loc)

    def check(self, values: Iterable[Any], loc: Locate) -> list[int]:
        """The values, if each is a whole number of 64 bits.

        Args:
            values: What should be numbers of customers.
            loc: Where the value of a row stands in the request.

        Raises:
            RequestError: A value is something else.
        """
        numbers = [int(value) if _is_whole(value) else value for value in values]
        wrong = [row for row, value in enumerate(numbers) if type(value) is not int or not _fits(value)]
        if wrong:
            problems = [Problem(loc(row), *_reason(numbers[row])) for row in wrong[:MAX_PROBLEMS]]
            raise RequestError(422, problems)
        return numbers

    def schemas(self) -> dict[str, Any]:
        """JSON Schema of a customer."""
        number = {"type": "integer", "title": "Customer number", "minimum": _LOWEST, "maximum": _HIGHEST}
        return {
            "CustomerId": number,
            "Customer": {
                "type": "object",
                "required": [CUSTOMER],
                "additionalProperties": False,
                "properties": {CUSTOMER: {"$ref": f"{_REFERENCE}CustomerId"}},
            },
        }

    def typed_request(self) -> dict[str, Any]:
        """JSON Schema of the two bodies that `read_typed` takes."""
        numbers = {"type": "array", "minItems": 1, "maxItems": self._max_rows}
        several = {**numbers, "items": {"$ref": f"{_REFERENCE}CustomerId"}}
        return {
            "anyOf": [
                {"$ref": f"{_REFERENCE}Customer"},
                {
                    "type": "object",
                    "required": [CUSTOMERS],
                    "additionalProperties": False,
                    "properties": {CUSTOMERS: several},
                },
            ]
        }

    def instance_schema(self) -> dict[str, Any]:
        """JSON Schema of one instance that `read_instances` takes."""
        return {"anyOf": [{"$ref": f"{_REFERENCE}Customer"}, {"$ref": f"{_REFERENCE}CustomerId"}]}


def instance_loc(instances: Sequence[Any], rows: Sequence[int] | None = None) -> Locate:
    """Where the customers of instances stand in a v1 request.

    Args:
        instances: All instances.
        rows: Which of them are meant; all of them by default.
    """

    def loc(number: int) -> Location:
        row = number if rows is None else rows[number]
        return ("body", INSTANCES, row, *([CUSTOMER] if type(instances[row]) is dict else []))

    return loc


def unknown_customers(customers: Sequence[int], found: NDArray[np.bool_], loc: Locate) -> RequestError | None:
    """The answer 404 with the numbers of those whom the online store does not know, None if it knows all.

    Args:
        customers: Who was asked for.
        found: Whether each is known.
        loc: Where each stands in the request.
    """
    rows = np.flatnonzero(~found)[:MAX_PROBLEMS].tolist()
    if not rows:
        return None
    message = "customer {} has no features in the online store"
    problems = [Problem(loc(row), message.format(customers[row]), "customer_not_found") for row in rows]
    return RequestError(404, problems)


class Assignments:
    """Answers that say where rows belong, and their JSON Schema.

    Args:
        segments: Of the model.
    """

    def __init__(self, segments: Segments) -> None:
        self.ids = np.array(segments.ids, np.int64)
        self.names = segments.names
        self._positions = {identifier: position for position, identifier in enumerate(segments.ids)}

    def tensors(self) -> list[TensorSpec]:
        """The v2 tensors of an answer."""
        return [
            TensorSpec(SEGMENT_ID, "INT64"),
            TensorSpec(SEGMENT, "BYTES"),
            TensorSpec(DISTANCES, "FP32", (-1, len(self.ids))),
            TensorSpec(CONFIDENCE, "FP32"),
        ]

    def positions(self, ids: NDArray[np.integer]) -> NDArray[np.int32]:
        """Positions of segments with these ids."""
        return np.array([self._positions[identifier] for identifier in ids.tolist()], np.int32)

    def named(self, indices: NDArray[np.integer]) -> list[str]:
        """Names of the segments at these positions."""
        return [self.names[index] for index in indices.tolist()]

    def json(
        self, indices: NDArray[np.integer], distances: NDArray[np.float32], confidence: NDArray[np.float32]
    ) -> list[dict[str, Any]]:
        """One object a row."""
        return [
            {
                SEGMENT_ID: identifier,
                SEGMENT: self.names[index],
                CONFIDENCE: sure,
                # Scalars of NumPy, which are written with the digits that single precision has.
                DISTANCES: dict(zip(self.names, row, strict=True)),
            }
            for identifier, index, sure, row in zip(
                self.ids[indices].tolist(), indices.tolist(), confidence, distances, strict=True
            )
        ]

    def schema(self, **more: Any) -> dict[str, Any]:
        """JSON Schema of one of these objects, with further properties."""
        distance = {"type": "number", "minimum": 0}
        properties = {
            **more,
            SEGMENT_ID: {"enum": self.ids.tolist(), "description": "Stays with a segment from run to run."},
            SEGMENT: {"enum": list(self.names), "description": "Name of the segment."},
            CONFIDENCE: {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "description": "Simplified silhouette: 0 on the border to the next segment, 1 at the centroid.",
            },
            DISTANCES: {
                "type": "object",
                "required": list(self.names),
                "properties": dict.fromkeys(self.names, distance),
                "description": "Distance to the centroid of each segment, in standard deviations.",
            },
        }
        return {"type": "object", "required": list(properties), "properties": properties}


def listed(name: str, schema: str) -> dict[str, Any]:
    """JSON Schema of an answer with one object a row, and the model's version."""
    items = {"type": "array", "items": {"$ref": f"{_REFERENCE}{schema}"}}
    return {
        "type": "object",
        "required": [name, VERSION],
        "properties": {name: items, VERSION: {"type": "string"}},
    }


def _is_whole(value: Any) -> bool:
    """Whether a number is written like 7.0, which JSON takes for an integer, and stands for no other one."""
    return type(value) is float and value.is_integer() and abs(value) <= _EXACT


def _fits(number: int) -> bool:
    return _LOWEST <= number <= _HIGHEST


def _reason(value: Any) -> tuple[str, str]:
    """What is wrong with a value that was refused, and the type of the problem."""
    if type(value) is int or (type(value) is float and value.is_integer()):
        return "must be a whole number of at most 64 bits", "int_parsing_size"
    if value is None:
        return "must be a whole number, not null", "missing"
    names = {bool: "a boolean", str: "a string", float: "a decimal number", list: "an array", dict: "an object"}
    return f"must be a whole number, not {names.get(type(value), 'this')}", "int_type"
