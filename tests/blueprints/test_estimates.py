"""Estimates: intervals that cover, groups that stay together, calibration that is a share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blueprints.estimates import calibration_curve, calibration_error, estimate, resampled_sums


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=80))
def test_calibration_error_is_a_share_and_its_bins_hold_every_row(rows):
    probabilities, target = np.array([p for p, _ in rows]), np.array([t for _, t in rows])
    predicted, _, sizes = calibration_curve(probabilities, target)
    assert sizes.sum() == len(rows)
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(predicted) >= -1e-12).all()
    assert 0 <= calibration_error(probabilities, target) <= 1


def test_calibration_error_is_zero_for_true_probabilities_and_one_for_opposite_ones():
    target = np.repeat([0, 1], 50)
    assert calibration_error(target.astype(float), target) == 0
    assert calibration_error(1.0 - target, target) == 1


def test_the_interval_of_a_share_is_the_one_of_the_binomial():
    hits = (np.arange(1_000) < 300).astype(float)
    found = estimate(0.3, resampled_sums(hits[:, None])[:, 0] / 1_000)
    half = 1.96 * np.sqrt(0.3 * 0.7 / 1_000)
    assert (found.low, found.high) == pytest.approx((0.3 - half, 0.3 + half), abs=0.005)


def test_rows_of_one_group_are_drawn_together_and_widen_the_interval():
    hits = np.repeat((np.arange(100) < 30).astype(float), 10)[:, None]
    alone, together = resampled_sums(hits), resampled_sums(hits, np.repeat(np.arange(100), 10))
    assert set(together[:, 0] % 10) == {0}
    assert together.std() == pytest.approx(np.sqrt(10) * alone.std(), rel=0.15)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(0, 5))
def test_resamples_follow_the_seed_and_keep_columns_together(values, seed):
    rows = np.array([[value, 2 * value, 1] for value in values], float)
    sums = resampled_sums(rows, resamples=5, seed=seed)
    np.testing.assert_array_equal(sums, resampled_sums(rows, resamples=5, seed=seed))
    np.testing.assert_array_equal(sums[:, 1], 2 * sums[:, 0])
    assert set(sums[:, 2]) == {len(values)}
