"""K-means for a range of K: each starts from the one before and from k-means++, on a sample if there are many rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blueprints.segmentation.preprocessing import DegenerateDataError
from blueprints.threads import default_threads

# With more rows than this, solutions are searched on a sample and finished on all rows.
SEARCH_ROWS = 10_000

# Solutions whose inertia comes this near to the best on the sample are finished too, if rows are few enough for it.
_RIVAL, _RIVAL_ROWS = 1.01, 200_000

# Iterations on all rows at most; solutions of the sample need few.
_FINISH = 30


@dataclass(frozen=True)
class Clustering:
    """One solution of k-means (Lloyd, 1982).

    Attributes:
        centers: Centroids, shape (k, features).
        labels: Position of the nearest centroid of each row, int16 of shape (n,).
        inertia: Sum of the squared distances to it.
    """

    centers: NDArray[np.float64]
    labels: NDArray[np.int16]
    inertia: float

    @property
    def k(self) -> int:
        """Number of clusters."""
        return len(self.centers)


def fit_kmeans(
    points: NDArray[np.floating],
    ks: Sequence[int],
    *,
    starts: int = 8,
    seed: int = 0,
    threads: int | None = None,
) -> list[Clustering]:
    """The best clustering found for each K.

    Each K starts from the solution before it, with one of its clusters split, and from k-means++ (Arthur and
    Vassilvitskii, 2007); the one with the least inertia is kept.

    Args:
        points: Rows, finite, shape (n, k); in single precision the whole runs in single precision.
        ks: Numbers of clusters, ascending, each 2 or more.
        starts: Starts from k-means++ for each K.
        seed: Seed of sample and starts.
        threads: Threads; every core by default.

    Raises:
        DegenerateDataError: There are fewer distinct rows than clusters.
    """
    from threadpoolctl import threadpool_limits

    require_distinct(points, max(ks))
    rng = np.random.default_rng(seed)
    sampled = len(points) > SEARCH_ROWS
    rows = np.sort(rng.choice(len(points), min(SEARCH_ROWS, len(points)), replace=False, shuffle=False))
    searched = np.ascontiguousarray(points[rows]) if sampled else points
    # Whole runs side by side: threads inside a run wait for each other at every iteration.
    with threadpool_limits(1), ThreadPoolExecutor(threads or default_threads()) as pool:
        solutions: list[list[Clustering]] = []
        for k in ks:
            before = solutions[-1][0].centers if solutions else None
            first = list(_starts(searched, k, before, starts, rng))
            found = list(pool.map(lambda start: _lloyd(searched, start), first))
            solutions.append(sorted(found, key=lambda solution: solution.inertia))
        if not sampled:
            return [found[0] for found in solutions]
        few = len(points) <= _RIVAL_ROWS
        rivals = [rival for found in solutions for rival in _rivals(found, 2 if few else 1)]
        if few:
            finished = list(pool.map(lambda rival: _lloyd(points, rival.centers, iterations=_FINISH), rivals))
    if not few:
        # One run at a time, as each copies the rows.
        with threadpool_limits(threads or default_threads()):
            finished = [_lloyd(points, rival.centers, iterations=_FINISH) for rival in rivals]
    return [min((one for one in finished if one.k == k), key=lambda one: one.inertia) for k in ks]


def continue_kmeans(points: NDArray[np.floating], centers: NDArray[np.floating]) -> Clustering:
    """The clustering that k-means reaches from given centroids, such as those of an earlier run.

    Args:
        points: Rows, finite, shape (n, k).
        centers: Where it starts, shape (clusters, k).
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(default_threads()):
        return _lloyd(points, centers)


def nearest(points: NDArray[np.floating], centers: NDArray[np.floating]) -> NDArray[np.int32]:
    """Position of the nearest centroid of each row, shape (n,)."""
    from sklearn.metrics import pairwise_distances_argmin

    return np.asarray(pairwise_distances_argmin(points, centers.astype(points.dtype)), np.int32)


def require_distinct(points: NDArray[np.floating], k: int) -> None:
    """Makes sure that k clusters are possible.

    Raises:
        DegenerateDataError: There are fewer distinct rows than k.
    """
    for part in (points[: 100 * k], points):
        distinct = len(np.unique(part, axis=0))
        if distinct >= k:
            return
    raise DegenerateDataError(
        f"{distinct} distinct rows among {len(points):,} cannot make {k} clusters; try K up to {distinct - 1}"
        if distinct > 2
        else f"{distinct} distinct rows among {len(points):,} make no clusters; give rows that differ"
    )


def _starts(
    points: NDArray[np.floating],
    k: int,
    before: NDArray[np.float64] | None,
    starts: int,
    rng: np.random.Generator,
) -> Iterable[NDArray[np.floating]]:
    from sklearn.cluster import kmeans_plusplus

    if before is not None and k - len(before) == 1:
        yield from _splits(points, before)
    for _ in range(starts):
        yield kmeans_plusplus(points, k, random_state=int(rng.integers(2**31)))[0]


def _splits(
    points: NDArray[np.floating], centers: NDArray[np.float64], *, best: int = 3
) -> Iterable[NDArray[np.floating]]:
    """Centroids with one of the widest clusters replaced by two, apart along its longest axis."""
    labels = nearest(points, centers)
    axes, lengths = [], []
    for label, center in enumerate(centers):
        deviations = points[labels == label] - center
        spread, directions = np.linalg.eigh(deviations.T @ deviations)
        lengths.append(max(float(spread[-1]), 0.0))
        axes.append(directions[:, -1] * (lengths[-1] / max(len(deviations), 1)) ** 0.5)
    for label in np.argsort(lengths)[::-1][:best]:
        halves = np.stack([centers[label] + axes[label], centers[label] - axes[label]])
        yield np.concatenate([np.delete(centers, label, axis=0), halves])


def _lloyd(
    points: NDArray[np.floating],
    centers: NDArray[np.floating],
    *,
    iterations: int = 300,
) -> Clustering:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    start = np.ascontiguousarray(centers, points.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = KMeans(len(start), init=start, n_init=1, max_iter=iterations).fit(points)
    labels = model.labels_.astype(np.int16)
    return Clustering(np.asarray(model.cluster_centers_, np.float64), labels, float(model.inertia_))


def _rivals(solutions: Sequence[Clustering], most: int) -> list[Clustering]:
    """The best solutions that are near the best one and differ from each other."""
    rivals = [solutions[0]]
    for solution in solutions[1:]:
        if len(rivals) == most or solution.inertia > _RIVAL * solutions[0].inertia:
            break
        if solution.inertia > rivals[-1].inertia * (1 + 1e-4):
            rivals.append(solution)
    return rivals
