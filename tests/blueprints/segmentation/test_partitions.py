"""Partitions: parts summarised in any order give what the whole gives, in bounded memory."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from blueprints.segmentation.choose_k import choose_k
from blueprints.segmentation.clustering import fit_kmeans
from blueprints.segmentation.nearest_centroid import ClusterSums, NearestCentroid
from blueprints.segmentation.partitions import PartitionError, PartitionSummary, accumulate, merge, summarize
from blueprints.segmentation.preprocessing import DegenerateDataError, fit_preprocessing

COLUMNS = ("recency_days", "frequency", "monetary")


def table(rows: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    blobs, _ = make_blobs(rows, 3, centers=4, cluster_std=1.0, random_state=seed)
    blobs[:, 2] = np.exp(blobs[:, 2] / 4)
    missing = rng.random(rows) < 0.05
    return pa.table(
        {
            "customer_id": rng.permutation(rows) + 1_000,
            "recency_days": pa.array(blobs[:, 0], mask=missing),
            "frequency": pa.array(blobs[:, 1]),
            "monetary": pa.array(blobs[:, 2]),
        }
    )


def summary_of(part: pa.Table, capacity: int = 500, batch: int = 300, seed: int = 0) -> PartitionSummary:
    batches = part.to_batches(max_chunksize=batch)
    return summarize(batches, COLUMNS, identifier="customer_id", capacity=capacity, seed=seed)


def matrix(part: pa.Table) -> np.ndarray:
    return np.stack([part[name].to_numpy() for name in COLUMNS], axis=1)


def assert_same(left: PartitionSummary, right: PartitionSummary) -> None:
    assert (left.columns, left.rows, left.seed) == (right.columns, right.rows, right.seed)
    np.testing.assert_array_equal(left.hashes, right.hashes)
    np.testing.assert_array_equal(left.sample, right.sample)
    for name in ("means", "squares", "missing"):
        np.testing.assert_allclose(getattr(left.raw, name), getattr(right.raw, name), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(getattr(left.logarithms, name), getattr(right.logarithms, name), rtol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2_000), max_size=4), st.integers(1, 900), st.randoms())
def test_the_summary_is_the_same_however_the_table_is_cut(cuts, batch, random):
    whole = table(2_000)
    edges = [0, *sorted(cuts), 2_000]
    parts = [whole.slice(start, end - start) for start, end in pairwise(edges)]
    random.shuffle(parts)
    assert_same(merge([summary_of(part, batch=batch) for part in parts]), summary_of(whole))


def test_the_sample_is_uniform_and_follows_the_seed():
    whole = table(20_000)
    means = []
    for seed in range(40):
        summary = summary_of(whole, seed=seed, batch=5_000)
        assert summary.sample.shape == (500, 3)
        means.append(summary.sample[:, 1].mean())
    values = whole["frequency"].to_numpy()
    assert np.mean(means) == pytest.approx(values.mean(), abs=4 * values.std() / np.sqrt(500 * 40))
    assert np.std(means) == pytest.approx(values.std() / np.sqrt(500), rel=0.4)


def test_a_summary_that_holds_every_row_preprocesses_like_the_table():
    whole = table(3_000)
    ours, theirs = summary_of(whole, capacity=3_000).preprocessing(), fit_preprocessing(matrix(whole), COLUMNS)
    np.testing.assert_array_equal(ours.logged, theirs.logged)
    for name in ("medians", "means", "scales"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-9)


def test_clusters_of_merged_parts_are_nearly_those_of_the_whole():
    whole = table(40_000, seed=3)
    parts = [whole.slice(start, 10_000) for start in range(0, 40_000, 10_000)]
    summary = merge([summary_of(part, capacity=4_000, batch=2_000) for part in parts])
    preprocessing = summary.preprocessing()
    choice = choose_k(preprocessing.transform(summary.sample), range(2, 7), bootstraps=0)
    centers = choice.best.centers
    for _ in range(3):
        sums = reduce(ClusterSums.merged, [accumulate(part.to_batches(), preprocessing, centers) for part in parts])
        centers = sums.centers(centers)
    points = fit_preprocessing(matrix(whole), COLUMNS).transform(matrix(whole))
    direct = fit_kmeans(points, [choice.k])[0]
    found = NearestCentroid(preprocessing, centers).predict(list(matrix(whole).T))
    assert adjusted_rand_score(found, direct.labels) >= 0.95
    assert sums.inertia == pytest.approx(direct.inertia, rel=0.02)
    assert sums.counts.sum() == 40_000


def test_one_pass_moves_centroids_to_the_means_of_their_rows():
    whole = table(1_000)
    learned = fit_preprocessing(matrix(whole), COLUMNS)
    points = learned.transform(matrix(whole))
    centers = np.concatenate([points[:3], [[1e3, 1e3, 1e3]]])
    sums = accumulate(whole.to_batches(max_chunksize=128), learned, centers)
    labels = ((points[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(sums.counts, np.bincount(labels, minlength=4))
    np.testing.assert_allclose(
        sums.centers(centers)[:3], [points[labels == i].mean(axis=0) for i in range(3)], atol=1e-4
    )
    np.testing.assert_array_equal(sums.centers(centers)[3], centers[3])
    assert sums.inertia == pytest.approx(((points - centers[labels]) ** 2).sum(), rel=1e-4)


def test_a_summary_comes_back_from_its_bytes():
    for summary in (summary_of(table(900)), PartitionSummary.empty(COLUMNS)):
        again = PartitionSummary.from_bytes(summary.to_bytes())
        assert_same(again, summary)
        np.testing.assert_array_equal(again.raw.minima, summary.raw.minima)
    for content in (b"", b"PAR1", b"x" * 100):
        with pytest.raises(PartitionError, match="no partition summary"):
            PartitionSummary.from_bytes(content)


def test_summaries_that_do_not_fit_together_are_refused():
    with pytest.raises(PartitionError, match="no summary to merge"):
        merge([])
    with pytest.raises(PartitionError, match="seed 0 and 1 do not merge"):
        merge([summary_of(table(50)), summary_of(table(50), seed=1)])


def test_batches_that_do_not_fit_are_refused_by_column():
    with pytest.raises(PartitionError, match="no column is named 'monetary'; there are customer_id"):
        summary_of(table(50).drop_columns(["monetary"]))
    with pytest.raises(PartitionError, match="no column is named 'customer_id'"):
        summary_of(table(50).drop_columns(["customer_id"]))
    for identifier, message in (([1, None], "missing values"), (["a", "b"], "identifiers are integers")):
        part = table(2).set_column(0, "customer_id", pa.array(identifier))
        with pytest.raises(PartitionError, match=message):
            summary_of(part)


def test_degenerate_parts_are_told_by_column():
    part = table(50)
    empty = part.set_column(1, "recency_days", pa.nulls(50, pa.float64()))
    with pytest.raises(DegenerateDataError, match="'recency_days' is missing in every row"):
        summary_of(empty).preprocessing()
    with pytest.raises(DegenerateDataError, match="0 rows"):
        PartitionSummary.empty(COLUMNS).preprocessing()
