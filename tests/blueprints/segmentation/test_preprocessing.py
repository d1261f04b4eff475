"""Preprocessing: the scikit-learn pipeline in other words, stored safely, with errors that name the column."""

from __future__ import annotations

import numpy as np
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler

from blueprints.segmentation.preprocessing import (
    DegenerateDataError,
    ModelFormatError,
    Preprocessing,
    build_pipeline,
    centers_of,
    dump_model,
    fit_preprocessing,
    fitted_pipeline,
    load_model,
)

COLUMNS = ("recency_days", "frequency", "monetary")


def rows(count: int = 600, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    features = np.column_stack([rng.normal(50, 9, count), rng.poisson(2, count), rng.lognormal(3, 1.2, count)])
    features[rng.random(count) < 0.1, 0] = np.nan
    return features


def test_what_is_learned_equals_what_scikit_learn_fits():
    pipeline = build_pipeline(COLUMNS, 4, log=["monetary"], seed=3).fit(rows())
    ours, theirs = fit_preprocessing(rows(), COLUMNS, log=["monetary"]), Preprocessing.of(pipeline, COLUMNS)
    for name in ("medians", "logged", "means", "scales"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-12)
    np.testing.assert_allclose(ours.transform(rows()), pipeline[:-1].transform(rows()), atol=1e-12)


def test_a_pipeline_made_from_its_parts_predicts_like_the_one_that_was_fitted():
    pipeline = build_pipeline(COLUMNS, 4, log=["monetary"]).fit(rows())
    again = fitted_pipeline(Preprocessing.of(pipeline, COLUMNS), centers_of(pipeline))
    fresh = rows(seed=1)
    np.testing.assert_array_equal(again.predict(fresh), pipeline.predict(fresh))
    np.testing.assert_array_equal(again[-1].labels_, np.arange(4))
    assert again.fit(fresh).predict(fresh).shape == (600,)


def test_automatic_logarithms_are_those_of_skewed_columns():
    assert fit_preprocessing(rows(), COLUMNS).logged.tolist() == [False, False, True]


def test_a_column_that_the_logarithm_does_not_help_stays():
    left_skewed = np.column_stack([100 - np.random.default_rng(0).lognormal(0, 1, 500), np.arange(500.0)])
    assert not fit_preprocessing(left_skewed, ("a", "b")).logged[0]


@given(st.integers(0, 100))
def test_inverse_undoes_transform(seed):
    features = rows(50, seed)
    learned = fit_preprocessing(features, COLUMNS)
    there = ~np.isnan(features)
    np.testing.assert_allclose(
        learned.inverse(learned.transform(features))[there], features[there], rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (np.full(9, np.nan), "'monetary' is missing in every row"),
        (np.full(9, 7.0), "'monetary' is 7 in every row"),
        (np.r_[np.full(5, 7.0), np.full(4, np.nan)], "'monetary' is 7 in every row"),
        (np.r_[np.arange(8.0), np.inf], "'monetary' holds infinite values"),
        (np.r_[np.arange(8.0), -1e300], "'monetary' reaches from"),
    ],
)
def test_a_column_that_cannot_be_used_is_named(column, message):
    features = rows(9)
    features[:, 2] = column
    with pytest.raises(DegenerateDataError, match=message):
        fit_preprocessing(features, COLUMNS, log=[])


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_rows_are_refused(count):
    with pytest.raises(DegenerateDataError, match=f"{count} rows cannot be clustered"):
        fit_preprocessing(rows()[:count], COLUMNS)


def test_wrong_columns_are_refused_by_name():
    with pytest.raises(ValueError, match="log: no column is named 'age'"):
        fit_preprocessing(rows(), COLUMNS, log=["age"])
    with pytest.raises(ValueError, match=r"not \(rows, 2\)"):
        fit_preprocessing(rows(), COLUMNS[:2])
    with pytest.raises(ModelFormatError, match="3 features, not the 2"):
        Preprocessing.of(build_pipeline(COLUMNS, 2).fit(rows()), COLUMNS[:2])


def test_a_model_comes_back_from_its_bytes_bit_for_bit():
    pipeline = build_pipeline(COLUMNS, 5, log=["monetary"]).fit(rows())
    again = load_model(dump_model(pipeline))
    np.testing.assert_array_equal(centers_of(again), centers_of(pipeline))
    np.testing.assert_array_equal(again.predict(rows(seed=2)), pipeline.predict(rows(seed=2)))


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x05\x06" + bytes(18)])
def test_bytes_that_are_no_model_are_refused(content):
    with pytest.raises(ModelFormatError, match="no skops model"):
        load_model(content)


def test_types_beyond_the_trusted_ones_are_refused_by_name():
    pipeline = fitted_pipeline(fit_preprocessing(rows(), COLUMNS), np.eye(3))
    pipeline.steps[1][1].func = np.testing.assert_allclose
    with pytest.raises(ModelFormatError, match="assert_allclose, which may not be loaded"):
        load_model(skops.io.dumps(pipeline))


def test_another_pipeline_is_refused():
    with pytest.raises(ModelFormatError, match="no pipeline of impute, log, scale, cluster"):
        load_model(skops.io.dumps(Pipeline([("scale", MinMaxScaler())])))
