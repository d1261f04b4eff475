"""Reasons: the strongest, in words, and never a protected group."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from blueprints.credit_risk.reasons import describe, reasons, typical_values
from blueprints.model_package import PackageError
from blueprints.schema import Column

COLUMNS = (
    Column(name="limit", kind="number", title="Credit limit", unit="NTD"),
    Column(name="late", kind="integer", title="Late payments"),
    Column(name="housing", kind="category", title="Housing", categories=("own", "rent")),
    Column(name="used", kind="number", title="Share in use", nullable=True),
)
APPLICATION = {"limit": 20_000.0, "late": 3, "housing": "rent", "used": None}
TYPICAL = {"limit": 140_000.0, "late": 1, "housing": "own", "used": 0.5}


def texts(contributions: list[float], *, declined: bool = True, **more) -> list[str]:
    values = dict(zip([column.name for column in COLUMNS], contributions, strict=True))
    return [reason.text for reason in reasons(COLUMNS, APPLICATION, values, TYPICAL, declined=declined, **more)]


def test_a_decline_names_what_raised_the_risk_strongest_first():
    assert texts([0.2, 0.9, -3.0, 0.1]) == [
        "Late payments: 3, above the typical 1",
        "Credit limit: 20,000 NTD, below the typical 140,000 NTD",
        "Share in use: not given; typical is 0.5",
    ]


def test_an_approval_names_what_lowered_it():
    assert texts([0.2, 0.9, -3.0, -0.1], declined=False) == [
        "Housing: rent; most common is own",
        "Share in use: not given; typical is 0.5",
    ]


def test_protected_features_are_never_named_and_the_count_is_kept():
    assert texts([0.2, 0.9, 0.3, 0.1], leave_out={"late"}, count=2) == [
        "Housing: rent; most common is own",
        "Credit limit: 20,000 NTD, below the typical 140,000 NTD",
    ]


def test_typical_values_are_medians_and_most_frequent_categories_without_missing_values():
    table = pa.table(
        {"limit": [1.0, 3.0, 8.0], "late": [0, 2, 2], "housing": ["rent", "own", "rent"], "used": [np.nan, 0.4, None]}
    )
    assert typical_values(table, COLUMNS) == {"limit": 3.0, "late": 2, "housing": "rent", "used": 0.4}


def test_a_reference_without_a_column_is_refused():
    with pytest.raises(PackageError, match="late"):
        typical_values(pa.table({"limit": [1.0], "housing": ["own"], "used": [0.1]}), COLUMNS)


@pytest.mark.parametrize(
    ("value", "words"),
    [(20_000, "20,000 NTD"), (1234.6, "1,235 NTD"), (0.12345, "0.123 NTD"), (123.45, "123.5 NTD"), (None, "not given")],
)
def test_values_are_written_as_people_write_them(value: float | None, words: str):
    assert describe(value, COLUMNS[0]) == words
