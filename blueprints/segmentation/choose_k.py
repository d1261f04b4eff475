"""How many clusters: the K with the highest silhouette, with other indices and its stability beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from blueprints.estimates import Estimate
from blueprints.segmentation.clustering import Clustering, continue_kmeans, fit_kmeans
from blueprints.segmentation.silhouette import exact_silhouettes, sample_silhouettes
from blueprints.segmentation.stability import cluster_stability

EXACT_ROWS = 20_000
"""With more rows than this, `auto` samples."""

SAMPLE_ROWS = 2000
"""Rows whose silhouettes are taken first, each against all rows."""

CONTINUED_INERTIA, CONTINUED_SILHOUETTE = 1.02, 0.02
"""How much worse the clusters of an earlier run may be, as a factor and as a difference, and still be continued."""

# Pairs of rows that telling rivals apart may cost: a few seconds.
_PAIRS = 8_000_000_000


class Candidate(BaseModel):
    """One K and how good its clusters are.

    Attributes:
        k: Number of clusters.
        silhouette: Mean silhouette (Rousseeuw, 1987), -1 to 1, higher is better; without an interval where exact.
        calinski_harabasz: Ratio of the variance between clusters to that within (Calinski and Harabasz, 1974), higher
            is better.
        davies_bouldin: Mean similarity of each cluster to the one most like it (Davies and Bouldin, 1979), lower is
            better.
        inertia: Sum of the squared distances to the nearest centroid.
        stability: Adjusted Rand index over bootstraps, higher is better; none if it was not asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int
    silhouette: Estimate
    calinski_harabasz: float
    davies_bouldin: float
    inertia: float
    stability: Estimate | None = None


class ChoiceReport(BaseModel):
    """Every K that was tried, and the one that was chosen.

    Attributes:
        k: The K with the highest silhouette, or that of the earlier run.
        continued: Whether the clusters of an earlier run are continued.
        method: Whether silhouettes are of all rows or of a sample.
        rows: Rows that were clustered.
        sampled_rows: Rows whose silhouettes were taken, in the finest sample.
        rivals: Other K whose silhouette cannot be told from the chosen one's.
        candidates: One for each K, ascending.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int
    continued: bool = False
    method: Literal["exact", "sampled"]
    rows: int
    sampled_rows: int
    rivals: tuple[int, ...] = ()
    candidates: tuple[Candidate, ...]

    def candidate(self, k: int) -> Candidate:
        """The candidate with k clusters.

        Raises:
            KeyError: That K was not tried.
        """
        for candidate in self.candidates:
            if candidate.k == k:
                return candidate
        raise KeyError(k)


@dataclass(frozen=True)
class Choice:
    """The choice of K with the clusterings that it was made from.

    Attributes:
        report: Figures of every K.
        clusterings: One for each K, ascending.
    """

    report: ChoiceReport
    clusterings: tuple[Clustering, ...]

    @property
    def k(self) -> int:
        """The chosen K."""
        return self.report.k

    @property
    def best(self) -> Clustering:
        """The clustering with the chosen K."""
        return next(clustering for clustering in self.clusterings if clustering.k == self.k)


def choose_k(
    points: NDArray[np.floating],
    ks: Sequence[int] = range(2, 11),
    *,
    method: Literal["auto", "exact", "sampled"] = "auto",
    sample_rows: int = SAMPLE_ROWS,
    bootstraps: int = 10,
    starts: int = 8,
    seed: int = 0,
    threads: int | None = None,
    earlier: NDArray[np.floating] | None = None,
) -> Choice:
    """Clusters rows into each number of clusters and chooses the one with the highest silhouette.

    Sampled silhouettes come with their interval. As long as two K cannot be told apart, the sample of those grows, up
    to all rows if they are not too many.

    Args:
        points: Rows in standardised space, finite, shape (n, k).
        ks: Numbers of clusters to try, each 2 or more.
        method: `exact` takes the silhouettes of all rows, `sampled` those of a sample, `auto` decides by the number
            of rows.
        sample_rows: Rows of the first sample.
        bootstraps: Bootstraps for the stability; 0 leaves it out.
        starts: Starts from k-means++ for each K.
        seed: Seed of everything that is drawn.
        threads: Threads; every core by default.
        earlier: Centroids of an earlier run, shape (clusters, k). Its clusters are continued, and its K is kept, as
            long as they are about as good: people know them, and k-means has many solutions that are.

    Raises:
        DegenerateDataError: There are fewer distinct rows than clusters.
        ValueError: No K is given, or one below 2.
    """
    ks = sorted(set(ks))
    if not ks or ks[0] < 2:
        raise ValueError("give numbers of clusters of 2 or more")
    points = np.ascontiguousarray(points, np.float32)
    clusterings = fit_kmeans(points, ks, starts=starts, seed=seed, threads=threads)
    continued = None
    if earlier is not None and len(earlier) in ks:
        place = ks.index(len(earlier))
        again = continue_kmeans(points, earlier)
        if again.inertia <= CONTINUED_INERTIA * clusterings[place].inertia:
            clusterings[place], continued = again, place
    labelings = np.stack([clustering.labels for clustering in clusterings])
    if method == "exact" or (method == "auto" and len(points) <= EXACT_ROWS):
        values = exact_silhouettes(points, labelings, threads=threads)
        silhouettes = [Estimate(value=value, low=value, high=value) for value in values.tolist()]
        used, rivals = len(points), list[int]()
    else:
        silhouettes, used, rivals = _sampled(points, labelings, sample_rows, seed, threads)
    stabilities: Sequence[Estimate | None] = [None] * len(ks)
    if bootstraps:
        stabilities = cluster_stability(points, clusterings, bootstraps=bootstraps, seed=seed, threads=threads)
    candidates = []
    for clustering, silhouette, stability in zip(clusterings, silhouettes, stabilities, strict=True):
        calinski_harabasz, davies_bouldin = dispersion_indices(points, clustering.labels)
        candidates.append(
            Candidate(
                k=clustering.k,
                silhouette=silhouette,
                calinski_harabasz=calinski_harabasz,
                davies_bouldin=davies_bouldin,
                inertia=clustering.inertia,
                stability=stability,
            )
        )
    best = max(candidates, key=lambda candidate: candidate.silhouette.value)
    if continued is not None:
        if candidates[continued].silhouette.value >= best.silhouette.value - CONTINUED_SILHOUETTE:
            best = candidates[continued]
        else:
            continued = None
    return Choice(
        ChoiceReport(
            k=best.k,
            continued=continued is not None,
            method="exact" if used == len(points) else "sampled",
            rows=len(points),
            sampled_rows=used,
            rivals=tuple(ks[position] for position in rivals),
            candidates=tuple(candidates),
        ),
        tuple(clusterings),
    )


def dispersion_indices(points: NDArray[np.floating], labels: NDArray[np.integer]) -> tuple[float, float]:
    """Calinski-Harabasz and Davies-Bouldin index of a clustering, equal to scikit-learn's, without copies of the rows.

    Args:
        points: Rows, shape (n, k).
        labels: Cluster of each row from 0, shape (n,); two clusters or more, each with rows.
    """
    sizes = np.bincount(labels).astype(np.float64)
    centers = np.stack([np.bincount(labels, column) for column in points.T], axis=1) / sizes[:, None]
    within, radii = 0.0, np.zeros(len(sizes))
    near = centers.astype(points.dtype)
    for start in range(0, len(points), 8192):
        own = labels[start : start + 8192]
        deviations = points[start : start + 8192] - near[own]
        squared = np.einsum("ij,ij->i", deviations, deviations)
        within += float(squared.sum(dtype=np.float64))
        radii += np.bincount(own, np.sqrt(squared), len(sizes))
    radii /= sizes
    between = float(sizes @ ((centers - sizes @ centers / sizes.sum()) ** 2).sum(axis=1))
    gaps = np.linalg.norm(centers[:, None] - centers, axis=2)
    np.fill_diagonal(gaps, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        similar = np.nan_to_num((radii[:, None] + radii) / gaps, nan=0.0)
    free = len(points) - len(sizes)
    ratio = between * free / (within * (len(sizes) - 1)) if within > 0 else 1.0
    return ratio, float(similar.max(axis=1).mean())


def _sampled(
    points: NDArray[np.floating], labelings: NDArray[np.integer], rows: int, seed: int, threads: int | None
) -> tuple[list[Estimate], int, list[int]]:
    """Silhouettes of every clustering, rows of the finest sample, and those that the best cannot be told from."""
    sample = sample_silhouettes(points, labelings, rows=rows, seed=seed, threads=threads)
    estimates = sample.estimates()
    compared = list(range(len(estimates)))
    spent = used = len(sample.strata)
    while True:
        best = max(range(len(compared)), key=lambda position: estimates[compared[position]].value)
        rivals = [
            position
            for position in range(len(compared))
            if position != best and sample.difference(best, position).low <= 0
        ]
        grown = min(len(points), 4 * used)
        if not rivals or used == len(points) or (spent + grown) * len(points) > _PAIRS:
            return estimates, used, [compared[position] for position in rivals]
        compared = sorted(compared[position] for position in [best, *rivals])
        # Another seed: rows that were drawn because they mislead must not be drawn again.
        seed += 1
        sample = sample_silhouettes(points, labelings[compared], rows=grown, seed=seed, threads=threads)
        for position, found in zip(compared, sample.estimates(), strict=True):
            estimates[position] = found
        used = len(sample.strata)
        spent += used
