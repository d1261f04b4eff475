"""From raw values to a typed frame that fits its schema, or one error that names what does not.

Values are parsed column by column (texts, numbers and native types alike), then pandera checks what the schema
demands of them: data types, ranges, missing values, unique identifiers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from blueprints.datasets.errors import DatasetError, Violation
from blueprints.schema import Column, TableSchema

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa

MISSING = frozenset({"", "na", "n/a", "nan", "<na>", "nat", "null", "none"})
"""Texts, in lower case, that mean a missing value unless they are a category of the column."""

_LARGEST_EXACT = 2.0**53


def conform(raw: pd.DataFrame, schema: TableSchema, *, origin: str) -> pd.DataFrame:
    """The table with the schema's columns, typed and checked.

    Args:
        raw: Values as read: texts, numbers, categories or timestamps. Columns that the schema does not name are left
            out.
        schema: What to expect.
        origin: File name or query for error messages.

    Returns:
        The schema's columns in its order: numbers as float64 (NaN where missing), integers as int64 (float64 if
        nullable), a target of 0 and 1 as int8, categories as categoricals with the schema's labels in order, timestamps
        as datetime64[ns, UTC], texts as objects without white space at the ends. The index counts from 0.

    Raises:
        DatasetError: A column is missing or repeated, there are no rows, or values do not fit.
    """
    import pandas as pd

    _require_columns([str(name) for name in raw.columns], schema, origin)
    if raw.empty:
        raise DatasetError(f"{origin}: has no rows")
    raw = raw.reset_index(drop=True)
    typed: dict[str, pd.Series[Any]] = {}
    found: dict[tuple[int, str], Violation] = {}
    for column in schema.columns:
        values = raw[column.name]
        missing = _is_missing(values, column)
        parsed = _parse(values.mask(missing), column)
        for position in np.flatnonzero(parsed.isna().to_numpy() & ~missing.to_numpy()):
            row = int(position)
            found[row, column.name] = _violation(row, column, values, accepted(column, schema))
        typed[column.name] = parsed
    frame = pd.DataFrame(typed)
    for row, column in _failures(frame, schema):
        if (row, column.name) not in found:
            words = accepted(column, schema)
            found[row, column.name] = _violation(row, column, raw[column.name], words)
    if found:
        raise DatasetError.of_values(origin, list(found.values()))
    return frame.astype({column.name: _dtype(column, schema) for column in schema.columns})


def accepted(column: Column, schema: TableSchema) -> str:
    """What a column accepts, in words for an error message."""
    if _is_event(column, schema):
        return "0 or 1"
    if column.kind == "category":
        words = "one of " + ", ".join(repr(label) for label in column.categories)
    elif column.kind == "text":
        words = _text_words(column)
    elif column.kind == "timestamp":
        words = "an ISO 8601 timestamp such as 2024-03-01T12:00:00Z"
    else:
        words = "a whole number" if column.kind == "integer" else "a finite number"
        if column.minimum is not None and column.maximum is not None:
            words += f" from {column.minimum:,g} to {column.maximum:,g}"
        elif column.minimum is not None:
            words += f", at least {column.minimum:,g}"
        elif column.maximum is not None:
            words += f", at most {column.maximum:,g}"
    if column.name == schema.identifier:
        words += " that no other row has"
    return words + (" or nothing" if column.nullable else "")


def pandera_schema(schema: TableSchema) -> pa.DataFrameSchema:
    """The pandera schema for a parsed table: ranges, missing values, unique identifiers."""
    import pandera.pandas as pa

    def checks(column: Column) -> list[pa.Check]:
        if column.kind == "text":
            return [pa.Check.str_length(column.minimum_length or 1, column.maximum_length)]
        low, high = (0.0, 1.0) if _is_event(column, schema) else (column.minimum, column.maximum)
        lower = [] if low is None else [pa.Check.ge(low)]
        return lower if high is None else [*lower, pa.Check.le(high)]

    return pa.DataFrameSchema(
        {
            column.name: pa.Column(
                checks=checks(column),
                nullable=column.nullable,
                unique=column.name == schema.identifier,
                report_duplicates="exclude_first",
            )
            for column in schema.columns
        },
        strict=True,
    )


def _is_event(column: Column, schema: TableSchema) -> bool:
    """Whether the column is a target of 0 and 1."""
    return column.name == schema.target and column.kind == "integer"


def _text_words(column: Column) -> str:
    shortest, longest = column.minimum_length or 1, column.maximum_length
    length = f"{shortest:,} or more" if longest is None else f"{shortest:,} to {longest:,}"
    return f"a text of {length} characters"


def _require_columns(names: list[str], schema: TableSchema, origin: str) -> None:
    wanted = [column.name for column in schema.columns]
    repeated = sorted({name for name in wanted if names.count(name) > 1})
    if repeated:
        raise DatasetError(f"{origin}: column {', '.join(map(repr, repeated))} occurs more than once; keep one")
    absent = [name for name in wanted if name not in names]
    if absent:
        raise DatasetError(f"{origin}: column {', '.join(map(repr, absent))} is missing; there are {', '.join(names)}")


def _is_missing(values: pd.Series[Any], column: Column) -> pd.Series[Any]:
    missing = values.isna()
    if values.dtype == object or str(values.dtype) in {"str", "string"}:
        texts = values.astype(str).str.strip()
        if column.kind == "text":
            return missing | (texts == "")
        missing = missing | (texts.str.lower().isin(MISSING) & ~texts.isin(column.categories))
    return missing


def _parse(values: pd.Series[Any], column: Column) -> pd.Series[Any]:
    """The values in the column's kind; NaN, NaT or no category where that is impossible."""
    import pandas as pd

    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    is_text = values.map(lambda value: isinstance(value, str))
    if is_text.any():
        values = values.where(~is_text, values.astype(str).str.strip())
    if column.kind == "category":
        labels = values.map(str, na_action="ignore")
        return labels.where(labels.isin(column.categories)).astype(pd.CategoricalDtype(list(column.categories)))
    if column.kind == "text":
        return values.where(is_text)
    if column.kind == "timestamp":
        if pd.api.types.is_numeric_dtype(values):
            return pd.Series(pd.NaT, index=values.index, dtype="datetime64[ns, UTC]")
        times = pd.to_datetime(values, utc=True, format="ISO8601", errors="coerce")
        return times.astype("datetime64[ns, UTC]")
    if pd.api.types.is_datetime64_any_dtype(values):
        return pd.Series(np.nan, index=values.index, dtype="float64")
    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    usable = np.isfinite(numbers)
    if column.kind == "integer":
        usable &= (numbers == np.floor(numbers)) & (numbers.abs() <= _LARGEST_EXACT)
    return numbers.where(usable)


def _failures(frame: pd.DataFrame, schema: TableSchema) -> list[tuple[int, Column]]:
    """Row and column of every value that pandera refuses."""
    import pandera.pandas as pa

    try:
        pandera_schema(schema).validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases
        return [(int(row), schema.column(name)) for row, name in zip(cases["index"], cases["column"], strict=True)]
    return []


def _violation(row: int, column: Column, values: pd.Series[Any], words: str) -> Violation:
    value = values.iloc[row]
    shown = "nothing" if bool(_is_missing(values.iloc[[row]], column).iloc[0]) else repr(_plain(value))
    shown = shown if len(shown) <= 60 else shown[:57] + "…'"
    if column.kind == "text" and isinstance(value, str) and value.strip():
        shown += f" ({len(value.strip()):,} characters)"
    return Violation(row + 1, column.name, shown, words)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _dtype(column: Column, schema: TableSchema) -> Any:
    import pandas as pd

    if _is_event(column, schema):
        return "int8"
    if column.kind == "text":
        return "object"
    if column.kind == "category":
        return pd.CategoricalDtype(list(column.categories))
    if column.kind == "timestamp":
        return "datetime64[ns, UTC]"
    return "int64" if column.kind == "integer" and not column.nullable else "float64"
