"""Fairness: figures by group as one computes them by hand, and a gate that says what breaks it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from blueprints.credit_risk.fairness import FairnessGate, UnfairModelError, audit, enforce, groups
from blueprints.schema import Column, TableSchema

AGE = Column(name="age", kind="integer", title="age")
NUMBER = Column(name="wealth", kind="number")
SCHEMA = TableSchema(
    columns=(
        Column(name="sex", kind="category", title="sex", categories=("female", "male"), nullable=True),
        AGE.model_copy(update={"nullable": True}),
        Column(name="y", kind="integer"),
    ),
    target="y",
    protected=("sex", "age"),
)
OPEN = FairnessGate(demographic_parity_difference=1, equalized_odds_difference=1, group_rows=1)


def table() -> tuple[pd.DataFrame, np.ndarray]:
    """Twelve decisions at threshold 0.5: of 6 women 3 approved, of 4 men all but one, of 2 unknown none."""
    frame = pd.DataFrame(
        {
            "sex": pd.Categorical(["female"] * 6 + ["male"] * 4 + [None] * 2, ["female", "male"]),
            "age": [20, 30, 40, 50, 60, 70, 20, 30, 40, 50, np.nan, np.nan],
            "y": np.array([0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0], np.int8),
        }
    )
    return frame, np.array([0.1, 0.2, 0.6, 0.3, 0.7, 0.5, 0.1, 0.2, 0.3, 0.9, 0.8, 0.9])


def test_figures_by_group_equal_a_computation_by_hand():
    frame, probabilities = table()
    sex = audit(frame, probabilities, 0.5, SCHEMA, OPEN).columns[0]
    women, men, unknown = sex.groups
    assert (women.group, women.rows, women.positives) == ("female", 6, pytest.approx(2 / 6))
    assert (women.selection_rate, women.true_positive_rate, women.false_positive_rate) == (0.5, 1.0, 0.25)
    assert (men.group, men.selection_rate, men.true_positive_rate, men.false_positive_rate) == ("male", 0.75, 0.5, 0.0)
    assert men.roc_auc == roc_auc_score([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.9])
    # Nobody without a sex defaulted: there is no rate of defaulters, and no ranking.
    assert (unknown.group, unknown.true_positive_rate, unknown.false_positive_rate, unknown.roc_auc) == (
        "missing", None, 1.0, None,
    )  # fmt: skip
    assert sex.demographic_parity_difference == pytest.approx(0.75)
    assert sex.equalized_odds_difference == pytest.approx(1.0)


def test_differences_equal_those_of_fairlearn():
    from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"sex": rng.choice(["female", "male"], 800), "age": rng.integers(18, 90, 800)})
    frame["y"] = rng.integers(0, 2, 800)
    probabilities = rng.random(800)
    result = audit(frame, probabilities, 0.4, SCHEMA, OPEN)
    for column in result.columns:
        membership = groups(frame[column.column], SCHEMA.column(column.column))
        given_ = {"y_true": frame["y"], "y_pred": probabilities >= 0.4, "sensitive_features": membership}
        assert column.demographic_parity_difference == pytest.approx(demographic_parity_difference(**given_))
        assert column.equalized_odds_difference == pytest.approx(equalized_odds_difference(**given_))


NUMBERS = st.one_of(st.integers(18, 30).map(float), st.just(np.nan))


@given(st.lists(NUMBERS, min_size=1, max_size=60), st.integers(1, 6))
def test_bands_part_the_rows_and_are_named_by_what_they_hold(values, bands):
    series = pd.Series(values, dtype=np.float64)
    labels = groups(series, AGE, bands=bands)
    assert labels.shape == (len(values),)
    assert ((labels == "missing") == series.isna()).all()
    spans = []
    for label in set(labels) - {"missing"}:
        inside = series[labels == label]
        low, _, high = label.partition(" to ")
        assert (inside.min(), inside.max()) == (float(low), float(high or low))
        spans.append((inside.min(), inside.max()))
    assert len(spans) <= bands
    spans.sort()
    assert all(before[1] < after[0] for before, after in pairwise(spans))


def test_bands_of_distinct_numbers_are_equally_filled():
    values = pd.Series(np.random.default_rng(0).permutation(np.linspace(0, 1e7, 1_000)))
    assert pd.Series(groups(values, NUMBER)).value_counts().between(249, 251).all()


def test_bands_are_shown_in_order_and_categories_by_size():
    frame, probabilities = table()
    result = audit(frame, probabilities, 0.5, SCHEMA, OPEN)
    assert [group.group for group in result.columns[0].groups] == ["female", "male", "missing"]
    assert [group.group for group in result.columns[1].groups] == ["20", "30", "40", "50 to 70", "missing"]


def test_one_value_and_missing_ones_are_two_groups():
    assert groups(pd.Series([5.0, np.nan, 5.0]), AGE).tolist() == ["5", "missing", "5"]
    assert groups(pd.Series([np.nan, np.nan]), AGE).tolist() == ["missing", "missing"]


def test_small_groups_are_shown_and_not_judged():
    frame, probabilities = table()
    gate = FairnessGate(demographic_parity_difference=0.3, equalized_odds_difference=1, group_rows=3)
    sex = audit(frame, probabilities, 0.5, SCHEMA, gate).columns[0]
    assert [(group.group, group.judged) for group in sex.groups] == [
        ("female", True),
        ("male", True),
        ("missing", False),
    ]
    assert sex.demographic_parity_difference == pytest.approx(0.25)
    assert not sex.violations
    alone = audit(frame, probabilities, 0.5, SCHEMA, gate.model_copy(update={"group_rows": 5})).columns[0]
    assert (alone.comparable, alone.demographic_parity_difference) == (False, 0.0)


def test_the_gate_holds_at_its_limit_and_breaks_beyond():
    frame, probabilities = table()
    frame, probabilities = frame[:10], probabilities[:10]
    at_limit = {"demographic_parity_difference": 0.25, "equalized_odds_difference": 0.5, "group_rows": 4}
    exact = audit(frame, probabilities, 0.5, SCHEMA, FairnessGate(**at_limit))
    assert exact.passed
    enforce(exact)
    for name in ("demographic_parity_difference", "equalized_odds_difference"):
        broken = audit(frame, probabilities, 0.5, SCHEMA, FairnessGate(**{**at_limit, name: at_limit[name] - 0.001}))
        assert not broken.passed
        assert [name.replace("_", " ") in violation for violation in broken.violations] == [True]


def test_a_broken_gate_names_every_violation_and_what_can_be_done():
    frame, probabilities = table()
    gate = FairnessGate(demographic_parity_difference=0, equalized_odds_difference=0, group_rows=1)
    with pytest.raises(UnfairModelError) as caught:
        enforce(audit(frame, probabilities, 0.5, SCHEMA, gate))
    message = str(caught.value)
    for words in (
        "sex: demographic parity difference is 0.750, the gate allows 0.000",
        "sex: equalized odds difference is 1.000, the gate allows 0.000",
        "age: demographic parity difference is",
        "age: equalized odds difference is",
        "mitigation=equalized_odds or demographic_parity",
        "mitigation_column=",
    ):
        assert words in message


def test_a_dataset_without_protected_columns_has_nothing_to_break():
    frame, probabilities = table()
    result = audit(frame, probabilities, 0.5, SCHEMA.model_copy(update={"protected": ()}), FairnessGate())
    assert (result.columns, result.passed) == ([], True)


@pytest.mark.parametrize("wrong", [{"demographic_parity_difference": 1.1}, {"group_rows": 0}, {"auc_difference": 0.1}])
def test_limits_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FairnessGate(**wrong)
