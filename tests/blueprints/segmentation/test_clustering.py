"""K-means for a range of K: as good as ten starts each, and the same again for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from threadpoolctl import threadpool_limits

from blueprints.segmentation import clustering as module
from blueprints.segmentation.clustering import continue_kmeans, fit_kmeans, nearest, require_distinct
from blueprints.segmentation.preprocessing import DegenerateDataError


def blobs(rows: int, seed: int, *, centers: int = 6, spread: float = 2.0) -> np.ndarray:
    points, _ = make_blobs(rows, 4, centers=centers, cluster_std=spread, random_state=seed)
    return (points - points.mean(axis=0)) / points.std(axis=0)


@pytest.mark.parametrize("seed", range(3))
def test_inertia_is_as_good_as_that_of_ten_starts(seed):
    points = blobs(1_500, seed)
    with threadpool_limits(1):
        expected = [KMeans(k, n_init=10, random_state=0).fit(points).inertia_ for k in range(2, 9)]
    ratios = [one.inertia / ten for one, ten in zip(fit_kmeans(points, range(2, 9)), expected, strict=True)]
    assert np.mean(np.array(ratios) < 1.001) >= 6 / 7
    assert max(ratios) < 1.02


def test_a_search_on_a_sample_ends_on_all_rows(monkeypatch):
    points = blobs(6_000, 1, spread=1.0)
    whole = fit_kmeans(points, range(2, 8))
    monkeypatch.setattr(module, "SEARCH_ROWS", 600)
    for rival_rows in (0, 10_000):
        monkeypatch.setattr(module, "_RIVAL_ROWS", rival_rows)
        for found, best in zip(fit_kmeans(points, range(2, 8)), whole, strict=True):
            assert found.labels.shape == (6_000,)
            assert found.inertia <= 1.02 * best.inertia


def test_labels_are_those_of_the_nearest_centroids_and_inertia_is_their_sum():
    points = blobs(800, 0)
    for found in fit_kmeans(points, [2, 5]):
        np.testing.assert_array_equal(found.labels, nearest(points, found.centers))
        assert found.inertia == pytest.approx(((points - found.centers[found.labels]) ** 2).sum())
        assert sorted(set(found.labels)) == list(range(found.k))


def test_the_seed_decides():
    points = blobs(700, 2).astype(np.float32)
    one, two = fit_kmeans(points, [3, 4, 7], seed=5), fit_kmeans(points, [3, 4, 7], seed=5, threads=1)
    assert [found.k for found in one] == [3, 4, 7]
    for left, right in zip(one, two, strict=True):
        np.testing.assert_array_equal(left.centers, right.centers)


def test_fewer_distinct_rows_than_clusters_are_refused_with_the_most_that_works():
    points = np.repeat(np.arange(4.0), 300)[:, None]
    require_distinct(points, 4)
    with pytest.raises(DegenerateDataError, match="4 distinct rows among 1,200 cannot make 5 clusters; try K up to 3"):
        fit_kmeans(points, range(2, 6))
    with pytest.raises(DegenerateDataError, match="1 distinct rows among 300 make no clusters"):
        fit_kmeans(points[:300], [2])


def test_distinct_rows_at_the_end_are_found():
    points = np.zeros((5_000, 1))
    points[-3:, 0] = [1, 2, 3]
    require_distinct(points, 4)


def test_clusters_are_continued_in_their_order_and_as_scikit_learn_does():
    points = blobs(3_000, 4)
    start = points[np.random.default_rng(0).permutation(3_000)[:5]]
    found = continue_kmeans(points, start)
    expected = KMeans(5, init=start, n_init=1).fit(points)
    np.testing.assert_allclose(found.centers, expected.cluster_centers_, atol=1e-6)
    assert found.labels.tolist() == expected.labels_.tolist()
    assert found.inertia == pytest.approx(expected.inertia_)
    assert continue_kmeans(points, found.centers).labels.tolist() == found.labels.tolist()
