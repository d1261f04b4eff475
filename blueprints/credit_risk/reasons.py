"""Reasons for a decision in plain words, the way an adverse-action notice gives them.

A reason names what the applicant can recognise: the feature, its value, and what is typical. Which features count is
decided by their SHAP values: those that raised the risk most for a decline, those that lowered it most for an approval.
A feature with a small part in that is no principal reason and is not named.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from blueprints.model_package import REFERENCE, PackageError

if TYPE_CHECKING:
    import pyarrow as pa

    from blueprints.credit_risk.application import Value
    from blueprints.schema import Column

_LEAST_SHARE = 0.1
_CLOSE = 0.1
_EXPLAINED = re.compile(r"(?<![\w.])(-?\d+) = ([^,;.]+)")
_PLURAL = re.compile(r"^([a-z]+)s\b")


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason.

    Attributes:
        feature: Name of the column.
        text: The reason in words: `"Credit limit: 20,000 NTD, below the typical 140,000 NTD"`.
        contribution: Its SHAP value in log-odds; above 0 it raised the risk.
    """

    feature: str
    text: str
    contribution: float


def typical_values(reference: pa.Table, columns: Sequence[Column]) -> dict[str, Value]:
    """The median of each number and the most frequent of each category, missing values left out.

    Args:
        reference: The package's reference sample, categories as labels.
        columns: The signature's inputs.

    Raises:
        PackageError: The sample lacks a column.
    """
    if absent := [column.name for column in columns if column.name not in reference.column_names]:
        raise PackageError(f"{REFERENCE}: no column {', '.join(absent)}, so nothing is known of typical values")
    return {column.name: _typical(reference.column(column.name).drop_null().to_pylist(), column) for column in columns}


def reasons(
    columns: Sequence[Column],
    application: Mapping[str, Value],
    contributions: Mapping[str, float],
    typical: Mapping[str, Value],
    *,
    declined: bool,
    count: int = 4,
    leave_out: Collection[str] = (),
) -> list[Reason]:
    """The features that speak most for a decision, strongest first.

    Named are those with at least a tenth of all that speaks for it, or else the strongest one.

    Args:
        columns: The signature's inputs.
        application: The applicant's values.
        contributions: SHAP values by feature.
        typical: Typical values; see `typical_values`.
        declined: The decision. For a decline what raised the risk, for an approval what lowered it.
        count: How many at the most; lenders usually give up to four.
        leave_out: Features that are never named: protected groups.
    """
    sign = 1 if declined else -1
    speaking = [column for column in columns if column.name not in leave_out and sign * contributions[column.name] > 0]
    speaking.sort(key=lambda column: -abs(contributions[column.name]))
    least = _LEAST_SHARE * sum(max(sign * contribution, 0.0) for contribution in contributions.values())
    principal = [column for column in speaking[:count] if abs(contributions[column.name]) >= least] or speaking[:1]
    return [
        Reason(
            column.name,
            _sentence(column, application.get(column.name), typical[column.name]),
            contributions[column.name],
        )
        for column in principal
    ]


def describe(value: Value, column: Column) -> str:
    """A value as people write it: `"20,000 NTD"`, `"1 month"`, `"university"`, `"not given"`."""
    if value is None:
        return "not given"
    if isinstance(value, str):
        return value
    number = _number(float(value))
    unit = _PLURAL.sub(r"\1", column.unit) if number == "1" else column.unit
    return f"{number} {unit}".rstrip()


def interpret(value: Value, column: Column) -> str:
    """What a value means, where the column's description explains it as in `"-1 = paid in full, 0 = minimum paid"`.

    Any other value is described; see `describe`.
    """
    if column.kind == "integer" and value is not None:
        for number, meaning in _EXPLAINED.findall(column.description):
            if int(number) == value:
                return str(meaning)
    return describe(value, column)


def _sentence(column: Column, value: Value, typical: Value) -> str:
    told = interpret(value, column)
    start = f"{column.label}: {told}"
    if typical is None:
        return start
    usual = interpret(typical, column)
    if told == usual:
        return f"{start}, as is typical"
    if isinstance(value, str) or isinstance(typical, str):
        return f"{start}; most common is {usual}"
    if value is None or (told, usual) != (describe(value, column), describe(typical, column)):
        return f"{start}; typical is {usual}"
    if abs(value - typical) <= _CLOSE * abs(typical):
        return f"{start}, close to the typical {usual}"
    return f"{start}, {'above' if value > typical else 'below'} the typical {usual}"


def _typical(values: list[Value], column: Column) -> Value:
    if column.kind == "category":
        labels = [str(value) for value in values]
        return max(dict.fromkeys(labels), key=labels.count, default=None)
    numbers = np.array(values, dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return None
    median = float(np.median(numbers))
    return round(median) if column.kind == "integer" else median


def _number(value: float) -> str:
    """Whole numbers and thousands without decimals, the rest with three or four digits: 20,000; 0.834; 12.5."""
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"
