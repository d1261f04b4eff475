"""Moments: equal to those of SciPy, and the same however the rows are cut into parts."""

from __future__ import annotations

from functools import reduce

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import skew

from blueprints.segmentation.moments import Moments, signed_log

VALUES = st.one_of(st.floats(-1e4, 1e4, width=32), st.just(float("nan")))
ROWS = arrays(np.float64, st.tuples(st.integers(1, 30), st.integers(1, 3)), elements=VALUES)


def assert_close(left: Moments, right: Moments) -> None:
    np.testing.assert_array_equal(left.counts, right.counts)
    np.testing.assert_array_equal(left.missing, right.missing)
    np.testing.assert_array_equal(left.minima, right.minima)
    np.testing.assert_array_equal(left.maxima, right.maxima)
    np.testing.assert_allclose(left.means, right.means, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(left.squares, right.squares, rtol=1e-7, atol=1e-4)
    np.testing.assert_allclose(left.cubes, right.cubes, rtol=1e-6, atol=10)


@given(ROWS, st.lists(st.integers(0, 30), max_size=4))
def test_parts_merge_to_the_moments_of_the_whole(rows, cuts):
    parts = np.split(rows, sorted(min(cut, len(rows)) for cut in cuts))
    assert_close(reduce(Moments.merged, [Moments.of(part) for part in parts]), Moments.of(rows))


@given(ROWS, st.floats(-100, 100))
def test_imputed_moments_are_those_of_the_filled_rows(rows, value):
    filled = np.where(np.isnan(rows), value, rows)
    assert_close(Moments.of(rows).imputed(np.full(rows.shape[1], value)), Moments.of(filled))


def test_deviation_and_skewness_equal_those_of_numpy_and_scipy():
    rows = np.random.default_rng(0).lognormal(size=(500, 3))
    moments = Moments.of(rows)
    np.testing.assert_allclose(moments.deviations, rows.std(axis=0))
    np.testing.assert_allclose(moments.skewness, skew(rows))


def test_a_constant_column_has_no_skewness():
    assert Moments.of(np.full((5, 1), 3.0)).skewness.tolist() == [0.0]


@given(arrays(np.float64, st.tuples(st.integers(1, 5), st.just(3)), elements=VALUES))
def test_the_signed_logarithm_is_odd_keeps_zero_and_touches_chosen_columns_only(rows):
    logged = signed_log(rows, [0, 2])
    np.testing.assert_array_equal(logged[:, 1], rows[:, 1])
    np.testing.assert_allclose(logged[:, 0], np.sign(rows[:, 0]) * np.log1p(np.abs(rows[:, 0])))
    np.testing.assert_array_equal(signed_log(-rows), -signed_log(rows))
