"""Applications as people write them, and the feature matrix that training and serving both make of them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from blueprints.schema import Column

Value: TypeAlias = str | int | float | None

# float32 holds the feature matrix; beyond these a number would silently become another one or infinity.
_LARGEST_NUMBER = float(np.finfo(np.float32).max)
_LARGEST_INTEGER = 2**53


def application_model(columns: Sequence[Column]) -> type[BaseModel]:
    """A Pydantic model of one application: named fields, bounds, units and categories as the signature gives them.

    Strict: no strings for numbers, no booleans or fractions for integers, no unknown fields, no NaN and no infinity.
    Nullable columns may be left out or null.

    Args:
        columns: The signature's inputs.
    """
    fields: dict[str, Any] = {column.name: _field(column) for column in columns}
    return create_model("Application", __config__=ConfigDict(extra="forbid", frozen=True), **fields)


def nearest_field(name: str, columns: Sequence[Column]) -> str | None:
    """The field that a misspelt name most likely means, if one is near."""
    near = difflib.get_close_matches(name.lower(), [column.name for column in columns], n=1)
    return near[0] if near else None


def encode_columns(table: Mapping[str, Sequence[Value]], columns: Sequence[Column]) -> NDArray[np.float32]:
    """The feature matrix of a table: the one encoding, for training and for serving.

    Args:
        table: Values by column name, equally many for each; numbers, category labels, `None` or NaN for missing.
        columns: The signature's inputs, in the order of the matrix.

    Returns:
        Float32 of shape (n, k): numbers as they are, categories as codes, missing values as NaN.

    Raises:
        ValueError: A value is no category of its column, or missing where it may not be.
    """
    return np.ascontiguousarray(code_columns(table, columns).T, dtype=np.float32)


def code_columns(table: Mapping[str, Sequence[Value]], columns: Sequence[Column]) -> NDArray[np.float64]:
    """What `encode_columns` makes of a table before it is rounded to float32 and transposed: float64, shape (k, n).

    Raises:
        ValueError: A value is no category of its column, or missing where it may not be.
    """
    coded = np.array([_codes(table[column.name], column) for column in columns], dtype=np.float64)
    for column, values in zip(columns, coded, strict=True):
        if not column.nullable and np.isnan(values).any():
            row = int(np.flatnonzero(np.isnan(values))[0])
            raise ValueError(f"{column.name}, row {row}: the value is missing, and the column is not nullable")
    return coded


def encode_applications(applications: Sequence[Mapping[str, Value]], columns: Sequence[Column]) -> NDArray[np.float32]:
    """The feature matrix of applications; see `encode_columns`. Fields that are left out are missing values."""
    return encode_columns(transpose(applications, columns), columns)


def transpose(applications: Sequence[Mapping[str, Value]], columns: Sequence[Column]) -> dict[str, list[Value]]:
    """Values by column name; `None` for fields that are left out."""
    return {column.name: [application.get(column.name) for application in applications] for column in columns}


def encode_frame(frame: pd.DataFrame, columns: Sequence[Column]) -> NDArray[np.float32]:
    """The feature matrix of a frame with the columns' names; see `encode_columns`."""
    table: dict[str, Any] = {}
    for column in columns:
        series = frame[column.name]
        if column.kind == "category":
            table[column.name] = series.astype(object).where(series.notna(), None).tolist()
        else:
            table[column.name] = series.to_numpy(dtype=np.float64, na_value=np.nan)
    return encode_columns(table, columns)


def decode_features(features: NDArray[np.float32], columns: Sequence[Column]) -> list[dict[str, Value]]:
    """The applications of a feature matrix: labels for codes, `None` for missing values."""
    return [{column.name: _value(cell, column) for cell, column in zip(row, columns, strict=True)} for row in features]


def category_code(label: Value, column: Column) -> int | None:
    """The code of a label, `None` for a missing value.

    Raises:
        ValueError: The column has no such category.
    """
    if label is None or label != label:  # noqa: PLR0124 - NaN
        return None
    try:
        return column.categories.index(str(label))
    except ValueError:
        raise ValueError(f"{column.name}: {label!r} is none of {', '.join(column.categories)}") from None


def _codes(values: Sequence[Value], column: Column) -> Any:
    if column.kind != "category":
        return values
    codes = {label: category_code(label, column) for label in dict.fromkeys(values)}
    return [codes[label] for label in values]


def _value(cell: np.float32, column: Column) -> Value:
    if np.isnan(cell):
        return None
    if column.kind == "category":
        return column.categories[int(cell)]
    return int(cell) if column.kind == "integer" else float(cell)


def _field(column: Column) -> tuple[Any, Any]:
    kind: Any
    extra: dict[str, Any] = {"unit": column.unit} if column.unit else {}
    described: dict[str, Any] = {"title": column.label, "json_schema_extra": extra or None}
    if column.description:
        described["description"] = column.description
    if column.kind == "category":
        kind = Literal[column.categories]
    else:
        limit = _LARGEST_INTEGER if column.kind == "integer" else _LARGEST_NUMBER
        low = -limit if column.minimum is None else column.minimum
        high = limit if column.maximum is None else column.maximum
        if column.kind == "integer":
            kind = Annotated[int, Field(strict=True, ge=_whole(low), le=_whole(high)), BeforeValidator(_integer)]
        else:
            kind = Annotated[float, Field(strict=True, ge=low, le=high, allow_inf_nan=False)]
    if column.nullable:
        return kind | None, Field(default=None, **described)
    return kind, Field(**described)


def _integer(value: Any) -> Any:
    """JSON knows one kind of number, so 3.0 is an integer there."""
    return int(value) if type(value) is float and value.is_integer() else value


def _whole(bound: float) -> float | int:
    return int(bound) if float(bound).is_integer() else bound
