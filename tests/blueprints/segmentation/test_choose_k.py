"""Choosing K: the highest silhouette, whether exact or from a sample that grows until rivals are told apart."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score

from blueprints.segmentation import choose_k as module
from blueprints.segmentation.choose_k import Choice, ChoiceReport, choose_k, dispersion_indices
from blueprints.segmentation.clustering import continue_kmeans
from blueprints.segmentation.preprocessing import DegenerateDataError


def blobs(rows: int, centers: int, seed: int, *, spread: float = 1.0) -> np.ndarray:
    points, _ = make_blobs(rows, 5, centers=centers, cluster_std=spread, random_state=seed)
    return (points - points.mean(axis=0)) / points.std(axis=0)


def chosen(points: np.ndarray, **options) -> Choice:
    return choose_k(points, **({"bootstraps": 0, "starts": 4} | options))


@pytest.mark.parametrize("method", ["exact", "sampled", "auto"])
@pytest.mark.parametrize("centers", [3, 5])
def test_clusters_that_are_there_are_counted(method, centers):
    choice = chosen(blobs(3_000, centers, 1), method=method, sample_rows=200)
    assert choice.k == choice.best.k == centers
    assert choice.report.method == ("sampled" if method == "sampled" else "exact")


def test_every_figure_of_a_candidate_equals_scikit_learn():
    points = blobs(1_200, 4, 3, spread=3.0)
    choice = choose_k(points, [2, 4, 6], bootstraps=2)
    assert [candidate.k for candidate in choice.report.candidates] == [2, 4, 6]
    for candidate, clustering in zip(choice.report.candidates, choice.clusterings, strict=True):
        assert candidate.silhouette.value == pytest.approx(silhouette_score(points, clustering.labels), abs=1e-5)
        expected = calinski_harabasz_score(points, clustering.labels)
        assert candidate.calinski_harabasz == pytest.approx(expected, rel=1e-4)
        assert candidate.davies_bouldin == pytest.approx(davies_bouldin_score(points, clustering.labels), rel=1e-4)
        assert candidate.inertia == pytest.approx(clustering.inertia)
        assert candidate.stability is not None


def test_sampled_and_exact_choose_alike_and_intervals_hold_the_exact_values():
    points = blobs(5_000, 6, 2, spread=3.5)
    exact, sampled = chosen(points, method="exact"), chosen(points, method="sampled", sample_rows=150)
    assert exact.k == sampled.k
    inside = [
        wide.silhouette.low <= sure.silhouette.value <= wide.silhouette.high
        for wide, sure in zip(sampled.report.candidates, exact.report.candidates, strict=True)
    ]
    assert sum(inside) >= 7


def test_rivals_are_told_apart_by_more_rows_or_named(monkeypatch):
    points = np.random.default_rng(3).normal(size=(4_000, 3))
    refined = chosen(points, method="sampled", sample_rows=20)
    assert refined.report.sampled_rows > 200
    assert refined.k == chosen(points, method="exact").k
    monkeypatch.setattr(module, "_PAIRS", 0)
    hurried = chosen(points, method="sampled", sample_rows=20)
    assert hurried.report.rivals
    assert hurried.k not in hurried.report.rivals


def test_many_rows_are_sampled_by_themselves(monkeypatch):
    monkeypatch.setattr(module, "EXACT_ROWS", 1_000)
    report = chosen(blobs(1_500, 4, 0), sample_rows=100).report
    assert report.method == "sampled"
    assert report.candidate(4).silhouette.low < report.candidate(4).silhouette.high
    with pytest.raises(KeyError):
        report.candidate(11)


def test_the_clusters_of_an_earlier_run_go_on_in_their_order_with_their_k():
    points = blobs(2_000, 5, 1)
    before = chosen(points[:1_500]).best.centers[::-1]
    after = chosen(points, earlier=before)
    assert after.report.continued
    assert after.k == 5
    # What was the first cluster is the first one again.
    distances = np.linalg.norm(after.best.centers[:, None] - before, axis=2)
    assert distances.argmin(axis=1).tolist() == [0, 1, 2, 3, 4]
    assert not chosen(points).report.continued


def test_an_earlier_k_is_kept_while_another_one_is_only_slightly_better():
    # Two of the four blobs touch, so three clusters are nearly as clear as four.
    rng = np.random.default_rng(5)
    centers = np.array([[0, 0], [20, 0], [0, 20], [0, 27.5]])
    points = centers[rng.integers(0, 4, 2_000)] + rng.normal(size=(2_000, 2))
    free = chosen(points)
    values = {one.k: one.silhouette.value for one in free.report.candidates}
    other = 3 if free.k == 4 else 4
    gap = values[free.k] - values[other]
    assert 0 < gap < module.CONTINUED_SILHOUETTE
    earlier = next(one.centers for one in free.clusterings if one.k == other)
    kept = chosen(points, earlier=earlier)
    assert (kept.k, kept.report.continued) == (other, True)
    assert ChoiceReport.model_validate_json(kept.report.model_dump_json()) == kept.report


def test_an_earlier_k_that_became_worse_is_given_up():
    points = blobs(2_000, 5, 1)
    earlier = next(one.centers for one in chosen(points).clusterings if one.k == 2)
    found = chosen(points, earlier=earlier)
    assert (found.k, found.report.continued) == (5, False)


def test_earlier_clusters_in_a_bad_solution_or_of_an_unwanted_k_are_not_continued():
    points = blobs(2_000, 4, 1)
    best = chosen(points, ks=[4]).best
    # Three centroids share one blob, so the other three blobs share one.
    own = points[best.labels == 0]
    bad = np.concatenate([own[:3], points[best.labels != 0].mean(axis=0)[None]])
    assert continue_kmeans(points, bad).inertia > 1.1 * best.inertia
    found = chosen(points, ks=[4], earlier=bad)
    assert not found.report.continued
    assert found.best.inertia == pytest.approx(best.inertia, rel=1e-3)
    assert not chosen(points, ks=[2, 3], earlier=best.centers).report.continued


def test_sampled_silhouettes_let_clusters_go_on_too():
    points = blobs(3_000, 4, 1)
    before = chosen(points[:2_000]).best.centers[::-1]
    report = chosen(points, method="sampled", sample_rows=200, earlier=before).report
    assert (report.k, report.method, report.continued) == (4, "sampled", True)


def test_the_report_survives_json_and_the_seed_decides():
    points = blobs(600, 3, 0)
    one = choose_k(points, range(2, 5), bootstraps=2, seed=4)
    assert ChoiceReport.model_validate_json(one.report.model_dump_json()) == one.report
    assert choose_k(points, range(2, 5), bootstraps=2, seed=4).report == one.report


def test_what_cannot_be_chosen_from_is_refused():
    points = np.repeat(np.eye(3), 50, axis=0)
    with pytest.raises(DegenerateDataError, match="3 distinct rows among 150 cannot make 10 clusters"):
        chosen(points)
    for ks in ([], [1, 2]):
        with pytest.raises(ValueError, match="2 or more"):
            chosen(points, ks=ks)


def test_indices_of_clusters_without_spread_are_finite():
    points, labels = np.repeat(np.eye(3), 5, axis=0), np.repeat([0, 1, 2], 5)
    ratio, similarity = dispersion_indices(points, labels)
    assert ratio == calinski_harabasz_score(points, labels)
    assert similarity == 0
