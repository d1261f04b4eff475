"""Stability: near 1 for clusters that are there, low for those that are not."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import make_blobs

from blueprints.segmentation.clustering import fit_kmeans
from blueprints.segmentation.stability import cluster_stability


def test_true_clusters_come_back_and_arbitrary_ones_do_not():
    points, _ = make_blobs(900, 3, centers=4, cluster_std=0.6, random_state=1)
    found = cluster_stability(points, fit_kmeans(points, [4, 9]), bootstraps=6)
    assert found[0].value > 0.99
    assert found[1].value < 0.9
    assert all(one.low <= one.value <= one.high <= 1 for one in found)


def test_a_ball_without_clusters_is_unstable():
    points = np.random.default_rng(0).normal(size=(800, 6))
    found = cluster_stability(points, fit_kmeans(points, [5]), bootstraps=6, rows=400)
    assert found[0].value < 0.7


def test_bootstraps_without_enough_distinct_rows_count_zero():
    points = np.concatenate([np.zeros((400, 1)), [[1.0], [2.0]]])
    found = cluster_stability(points, fit_kmeans(points, [3]), bootstraps=6)
    assert found[0].low == 0


def test_the_seed_decides():
    points, _ = make_blobs(500, 3, centers=4, random_state=1)
    clusterings = fit_kmeans(points, [3, 6])
    assert cluster_stability(points, clusterings, bootstraps=3) == cluster_stability(points, clusterings, bootstraps=3)
