"""Tabular models: one tensor a column, checked against the signature straight into a feature matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blueprints.schema import Column
from inference_services.serving.errors import MAX_PROBLEMS, Location, Problem, RequestError
from inference_services.serving.tensors import TensorSpec, Values

_LARGEST = float(np.finfo(np.float32).max)
_NUMBERS: frozenset[type] = frozenset({int, float})
_NUMBERS_OR_NULL: frozenset[type] = frozenset({int, float, type(None)})


def tensor_spec(column: Column) -> TensorSpec:
    """The v2 tensor of a column: numbers and nullable columns FP32, integers and category codes INT32."""
    if column.kind == "number" or column.nullable:
        return TensorSpec(column.name, "FP32", also=("FP64",))
    return TensorSpec(column.name, "INT32", also=("INT64",))


class FeatureColumns:
    """Checks columns of numbers and codes and builds the feature matrix.

    Args:
        columns: The signature's inputs, in the order of the matrix.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.names = tuple(column.name for column in columns)
        bounds = [_bounds(column) for column in columns]
        self._low = np.array([[low] for low, _ in bounds])
        self._high = np.array([[high] for _, high in bounds])
        self._nullable = np.array([[column.nullable] for column in columns])
        self._whole = np.array([index for index, column in enumerate(columns) if column.kind != "number"], np.intp)
        self._types = [_NUMBERS_OR_NULL if column.nullable else _NUMBERS for column in columns]

    def matrix(self, values: Mapping[str, Values], loc: Callable[[str, int], Location]) -> NDArray[np.float32]:
        """The feature matrix, float32 of shape (n, k), missing values as NaN.

        Args:
            values: For every column as many values; numbers, or `None` where the column is nullable.
            loc: Where the value of a column and a row stands in the request.

        Raises:
            RequestError: A value is no number, missing, not finite, out of bounds or no code of its category.
        """
        ordered = [values[name] for name in self.names]
        for name, column, accepted in zip(self.names, ordered, self._types, strict=True):
            if not isinstance(column, np.ndarray) and not accepted.issuperset(map(type, column)):
                raise self._wrong_types(name, column, accepted, loc)
        table = np.array(ordered, dtype=np.float64)
        good = (table >= self._low) & (table <= self._high)
        whole = table[self._whole]
        good[self._whole] &= whole == np.floor(whole)
        if not good.all():
            good |= np.isnan(table) & self._nullable
            if not good.all():
                raise self._out_of_bounds(table, good, loc)
        return np.ascontiguousarray(table.T, dtype=np.float32)

    def _wrong_types(
        self, name: str, values: Sequence[Any], accepted: frozenset[type], loc: Callable[[str, int], Location]
    ) -> RequestError:
        hint = "must be a number or null" if type(None) in accepted else "must be a number"
        wrong = [row for row, value in enumerate(values) if type(value) not in accepted][:MAX_PROBLEMS]
        problems = []
        for row in wrong:
            kind = "missing" if values[row] is None else "float_type"
            problems.append(Problem(loc(name, row), f"{hint}, not {_kind(values[row])}", kind))
        return RequestError(422, problems)

    def _out_of_bounds(
        self, table: NDArray[np.float64], good: NDArray[np.bool_], loc: Callable[[str, int], Location]
    ) -> RequestError:
        wrong = np.argwhere(~good.T)[:MAX_PROBLEMS]
        return RequestError(
            422,
            [
                Problem(loc(self.names[index], int(row)), *_reason(self.columns[index], float(table[index, row])))
                for row, index in wrong
            ],
        )


def _bounds(column: Column) -> tuple[float, float]:
    if column.kind == "category":
        return 0.0, len(column.categories) - 1.0
    low = -_LARGEST if column.minimum is None else column.minimum
    high = _LARGEST if column.maximum is None else column.maximum
    # The model sees float32, so what rounds to a bound is within it.
    low, high = min(low, float(np.float32(low))), max(high, float(np.float32(high)))
    return max(low, -_LARGEST), min(high, _LARGEST)


def _reason(column: Column, value: float) -> tuple[str, str]:
    """What is wrong with a value that was refused, and the type of the problem."""
    unit = f" {column.unit}" if column.unit else ""
    if np.isnan(value):
        return "must be a number: this value may not be missing", "missing"
    if np.isinf(value):
        return "must be finite", "finite_number"
    if column.kind == "category":
        codes = ", ".join(f"{code} = {label}" for code, label in enumerate(column.categories[:20]))
        return f"{value:g} is no code of this category: {codes}", "enum"
    low, high = _bounds(column)
    if value < low:
        return f"must be at least {low:g}{unit}, not {value:g}", "greater_than_equal"
    if value > high:
        return f"must be at most {high:g}{unit}, not {value:g}", "less_than_equal"
    return f"must be a whole number, not {value:g}", "int_from_float"


def _kind(value: Any) -> str:
    names = {bool: "a boolean", str: "a string", list: "an array", dict: "an object", type(None): "null"}
    return names.get(type(value), "this")
