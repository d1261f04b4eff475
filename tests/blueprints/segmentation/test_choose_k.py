"""Choosing K: the highest silhouette, whether exact or from a sample that grows until rivals are told apart."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score

from blueprints.segmentation import choose_k as module
from blueprints.segmentation.choose_k import Choice, ChoiceReport, choose_k, dispersion_indices
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
