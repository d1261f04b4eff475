"""Silhouettes: scikit-learn's to the last digits that matter, in one pass, or from a sample with an honest interval."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import silhouette_samples, silhouette_score

from blueprints.segmentation.silhouette import (
    _groups,
    exact_silhouettes,
    sample_silhouettes,
    sampled_silhouettes,
    silhouette_values,
)

# Few values, so that rows repeat and distances are often 0.
POINTS = st.integers(3, 40).flatmap(
    lambda rows: arrays(np.float64, st.tuples(st.just(rows), st.integers(1, 9)), elements=st.integers(-3, 3))
)


def nested_labels(points: np.ndarray, clusterings: int, seed: int) -> np.ndarray:
    """Clusterings by the nearest of more and more centres, as k-means for growing K makes them."""
    centers = np.random.default_rng(seed).normal(size=(clusterings + 1, points.shape[1]))
    squared = ((points[:, None] - centers) ** 2).sum(axis=2)
    return np.stack([squared[:, : k + 2].argmin(axis=1) for k in range(clusterings)])


@settings(deadline=None)
@given(POINTS, st.integers(1, 5), st.data())
def test_every_clustering_of_one_pass_equals_scikit_learn(points, clusterings, data):
    labels = data.draw(arrays(np.int64, (clusterings, len(points)), elements=st.integers(-2, 5)))
    for row in labels:
        assume(2 <= len(np.unique(row)) < len(points))
    expected = [silhouette_score(points, row) for row in labels]
    np.testing.assert_allclose(exact_silhouettes(points, labels), expected, atol=1e-4)
    values = silhouette_values(points, labels)
    np.testing.assert_allclose(values, [silhouette_samples(points, row) for row in labels], atol=1e-4)
    assert (np.abs(values) <= 1).all()


def test_thousands_of_rows_in_several_blocks_and_threads_equal_scikit_learn():
    points = np.random.default_rng(0).normal(size=(3_000, 5)) + 40
    labels = nested_labels(points - 40, 9, 1)
    expected = [silhouette_score(points, row) for row in labels]
    for threads in (1, 3):
        np.testing.assert_allclose(exact_silhouettes(points, labels, threads=threads), expected, atol=1e-5)
    np.testing.assert_allclose(exact_silhouettes(points.astype(np.float32), labels), expected, atol=1e-5)


def test_clusterings_that_share_nothing_are_passed_over_in_groups():
    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(1_500, 2)), rng.integers(0, 10, (6, 1_500))
    assert len(_groups(labels, np.arange(6))) > 1
    np.testing.assert_allclose(
        exact_silhouettes(points, labels), [silhouette_score(points, row) for row in labels], atol=1e-5
    )
    found = sampled_silhouettes(points, labels, rows=2_000)
    np.testing.assert_allclose([one.value for one in found], exact_silhouettes(points, labels), atol=1e-6)


def test_chosen_rows_are_compared_with_all_rows():
    points = np.random.default_rng(0).normal(size=(500, 3))
    labels = nested_labels(points, 3, 0)
    rows = np.array([400, 3, 77])
    np.testing.assert_array_equal(
        silhouette_values(points, labels, rows=rows), silhouette_values(points, labels)[:, rows]
    )


def test_rows_that_are_alone_count_zero():
    assert exact_silhouettes(np.eye(3), np.array([[0, 1, 2]])).tolist() == [0.0]


def test_labels_may_be_any_integers():
    points = np.random.default_rng(0).normal(size=(60, 2))
    labels = nested_labels(points, 1, 0)
    far = np.where(labels == 0, -(10**12), 10**12)
    np.testing.assert_array_equal(exact_silhouettes(points, far), exact_silhouettes(points, labels))


def test_what_is_no_clustering_is_refused():
    with pytest.raises(ValueError, match="two or more, not one"):
        exact_silhouettes(np.eye(3), np.zeros((1, 3), int))
    with pytest.raises(ValueError, match=r"not \(clusterings, 3\)"):
        exact_silhouettes(np.eye(3), np.zeros((1, 4), int))


def skewed_points() -> np.ndarray:
    rng = np.random.default_rng(5)
    points = np.column_stack([rng.poisson(1.5, 3_000), rng.lognormal(0, 1, 3_000), rng.normal(size=3_000)])
    return points / points.std(axis=0)


def test_the_exact_value_is_inside_the_interval_in_about_95_of_100_samples():
    points = skewed_points()
    labels = nested_labels(points, 5, 2)
    exact = exact_silhouettes(points, labels)
    found = [sampled_silhouettes(points, labels, rows=150, seed=seed) for seed in range(150)]
    inside = np.mean([[one.low <= value <= one.high for one, value in zip(row, exact, strict=True)] for row in found])
    assert 0.92 <= inside <= 0.98
    errors = np.array([[one.value for one in row] for row in found]) - exact
    assert np.abs(errors.mean(axis=0)).max() < 0.3 * errors.std(axis=0).max()


def test_the_interval_is_far_narrower_than_that_of_a_plain_sample():
    points = skewed_points()
    labels = nested_labels(points, 1, 2)
    found = sampled_silhouettes(points, labels, rows=300)[0]
    plain = 1.96 * silhouette_values(points, labels)[0].std() / 300**0.5
    assert found.high - found.value < plain / 3


def test_a_difference_of_two_clusterings_is_known_better_than_each():
    points = skewed_points()
    labels = np.stack([nested_labels(points, 1, 2)[0]] * 2)
    labels[1, :30] = 1 - labels[1, :30]
    sample = sample_silhouettes(points, labels, rows=200)
    exact = exact_silhouettes(points, labels)
    difference, first = sample.difference(0, 1), sample.estimates()[0]
    assert difference.value == pytest.approx(exact[0] - exact[1], abs=2 * (difference.high - difference.value))
    assert difference.high - difference.low < first.high - first.low
    assert sample.difference(0, 0).value == 0


def test_a_sample_of_all_rows_is_exact_and_says_so():
    points = skewed_points()[:400]
    labels = nested_labels(points, 4, 2)
    found = sampled_silhouettes(points, labels, rows=400)
    np.testing.assert_allclose([one.value for one in found], exact_silhouettes(points, labels), atol=1e-6)
    assert all(one.low == one.value == one.high for one in found)


def test_samples_follow_their_seed():
    points = skewed_points()
    labels = nested_labels(points, 2, 2)
    same = [sampled_silhouettes(points, labels, rows=100, seed=seed) for seed in (1, 1, 2)]
    assert same[0] == same[1] != same[2]
