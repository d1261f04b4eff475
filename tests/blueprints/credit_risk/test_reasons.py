"""Reasons: the strongest, in words, and never a protected group."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blueprints import datasets
from blueprints.credit_risk.reasons import describe, interpret, reasons, typical_values
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
    assert texts([0.3, 0.9, -3.0, 0.2]) == [
        "Late payments: 3, above the typical 1",
        "Credit limit: 20,000 NTD, below the typical 140,000 NTD",
        "Share in use: not given; typical is 0.5",
    ]


def test_an_approval_names_what_lowered_it():
    assert texts([0.2, 0.9, -3.0, -0.5], declined=False) == [
        "Housing: rent; most common is own",
        "Share in use: not given; typical is 0.5",
    ]


def test_protected_features_are_never_named_and_the_count_is_kept():
    assert texts([0.2, 0.9, 0.3, 0.1], leave_out={"late"}, count=2) == [
        "Housing: rent; most common is own",
        "Credit limit: 20,000 NTD, below the typical 140,000 NTD",
    ]


def test_small_parts_are_no_reasons_and_the_strongest_always_is():
    assert texts([0.09, 0.91, 0.0, 0.0]) == ["Late payments: 3, above the typical 1"]
    # A protected feature takes its part of the whole, though it is not named.
    assert texts([0.09, 0.91, 0.0, 0.0], leave_out={"late"}) == [
        "Credit limit: 20,000 NTD, below the typical 140,000 NTD"
    ]
    assert texts([-0.1, -0.2, 0.0, 0.0]) == []


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.booleans())
def test_every_reason_speaks_for_the_decision_and_none_is_near_nothing(contributions: list[float], declined: bool):
    by_feature = dict(zip([column.name for column in COLUMNS], contributions, strict=True))
    named = reasons(COLUMNS, APPLICATION, by_feature, TYPICAL, declined=declined)
    pushes = [value if declined else -value for value in contributions if (value > 0) == declined and value]
    given_ = [reason.contribution if declined else -reason.contribution for reason in named]
    assert given_ == sorted(given_, reverse=True)
    assert bool(named) == bool(pushes)
    assert all(part > 0 for part in given_)
    assert len(named) <= 1 or given_[-1] >= 0.1 * sum(pushes) * (1 - 1e-9)


STATUS = Column(
    name="status",
    kind="integer",
    title="Repayment in May",
    unit="months late",
    description="Months behind in May 2005; -1 = paid in full, 0 = minimum paid, 9 = 9 or more months late.",
)


@pytest.mark.parametrize(
    ("value", "typical", "text"),
    [
        (2, 0, "Repayment in May: 2 months late; typical is minimum paid"),
        (1, 2, "Repayment in May: 1 month late, below the typical 2 months late"),
        (-1, 0, "Repayment in May: paid in full; typical is minimum paid"),
        (0, 0, "Repayment in May: minimum paid, as is typical"),
        (9, 0, "Repayment in May: 9 or more months late; typical is minimum paid"),
        (21, 20, "Repayment in May: 21 months late, close to the typical 20 months late"),
    ],
)
def test_codes_are_told_by_what_they_mean_and_units_inflect(value: int, typical: int, text: str):
    (reason,) = reasons([STATUS], {"status": value}, {"status": 1.0}, {"status": typical}, declined=True)
    assert reason.text == text


def test_every_code_of_the_taiwan_statuses_is_told():
    for column in datasets.get("taiwan").schema.columns:
        if column.name.startswith("repayment_status"):
            told = [interpret(code, column) for code in range(-2, 10)]
            assert told[:5] == ["card not used", "paid in full", "minimum paid", "1 month late", "2 months late"]
            assert told[-1] == "9 or more months late"


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
    [
        (20_000, "20,000 NTD"),
        (1234.6, "1,235 NTD"),
        (0.12345, "0.123 NTD"),
        (123.45, "123.5 NTD"),
        (None, "not given"),
        (1.0, "1 NTD"),
    ],
)
def test_values_are_written_as_people_write_them(value: float | None, words: str):
    assert describe(value, COLUMNS[0]) == words
