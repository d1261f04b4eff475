from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blueprints.datasets import DatasetError, parse_schema, split

STRATIFIED = parse_schema(
    "{target: y, columns: [{name: x, kind: number}, {name: y, kind: integer}]}",
)
TIMED = parse_schema(
    "{target: y, time: t, columns: [{name: t, kind: timestamp}, {name: y, kind: integer}]}",
)
SHARES = st.floats(0.1, 0.4)


def assert_partition(frame, parts):
    assert sorted(np.concatenate([part.index for part in parts])) == list(frame.index)
    assert all(len(part) for part in parts)


@given(st.integers(3, 200), st.integers(3, 200), SHARES, SHARES, st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_a_stratified_split_is_a_partition_that_keeps_the_strata(events, others, test_share, validation_share, seed):
    frame = pd.DataFrame({"x": 0.0, "y": np.repeat([1, 0], [events, others]).astype("int8")})
    frame = frame.sample(frac=1, random_state=1).reset_index(drop=True)
    parts = split(frame, STRATIFIED, test_share=test_share, validation_share=validation_share, seed=seed)
    tables = (parts.train, parts.validation, parts.test)
    assert_partition(frame, tables)
    assert parts.report.method == "stratified"
    for share, table in ((validation_share, parts.validation), (test_share, parts.test)):
        assert abs((table["y"] == 1).sum() - share * events) <= 1.5
        assert abs((table["y"] == 0).sum() - share * others) <= 1.5
    again = split(frame, STRATIFIED, test_share=test_share, validation_share=validation_share, seed=seed)
    assert again.test.equals(parts.test)


@given(st.lists(st.integers(0, 40), min_size=3, max_size=200), SHARES, SHARES)
@settings(max_examples=100, deadline=None)
def test_a_time_aware_split_is_a_partition_in_strict_order_of_time(hours, test_share, validation_share):
    time = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(hours, unit="h")
    frame = pd.DataFrame({"t": time, "y": np.zeros(len(hours), dtype="int8")})
    if len(set(hours)) < 3:
        with pytest.raises(DatasetError, match="distinct timestamps"):
            split(frame, TIMED)
        return
    parts = split(frame, TIMED, test_share=test_share, validation_share=validation_share)
    assert_partition(frame, (parts.train, parts.validation, parts.test))
    assert parts.train["t"].max() < parts.validation["t"].min()
    assert parts.validation["t"].max() < parts.test["t"].min()
    assert parts.report.method == "time-aware"
    assert parts.report.starts["test"] == parts.test["t"].min().isoformat()


def test_with_distinct_timestamps_the_shares_are_exact():
    time = pd.date_range("2024-01-01", periods=100, freq="h", tz="UTC")
    frame = pd.DataFrame({"t": time[::-1], "y": np.zeros(100, dtype="int8")})
    assert split(frame, TIMED).report.rows == {"train": 60, "validation": 20, "test": 20}


def test_another_seed_draws_other_rows():
    frame = pd.DataFrame({"x": 0.0, "y": np.tile([0, 1], 50).astype("int8")})
    assert not split(frame, STRATIFIED, seed=1).test.equals(split(frame, STRATIFIED, seed=2).test)


@pytest.mark.parametrize("shares", [(0.0, 0.2), (0.5, 0.5), (-0.1, 0.2), (float("nan"), 0.2)])
def test_shares_that_leave_nothing_are_refused(shares):
    frame = pd.DataFrame({"x": 0.0, "y": np.tile([0, 1], 50).astype("int8")})
    with pytest.raises(DatasetError, match="shares must be above 0"):
        split(frame, STRATIFIED, test_share=shares[0], validation_share=shares[1])


def test_too_few_events_are_refused():
    frame = pd.DataFrame({"x": 0.0, "y": np.array([1, 1] + [0] * 50, dtype="int8")})
    with pytest.raises(DatasetError, match="2 rows have target 1"):
        split(frame, STRATIFIED)
