"""How far clusters come back when other customers had been seen (Hennig, 2007, "Cluster-wise assessment")."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from blueprints.estimates import Estimate, estimate
from blueprints.segmentation.clustering import Clustering, fit_kmeans, nearest
from blueprints.segmentation.preprocessing import DegenerateDataError
from blueprints.threads import default_threads


def cluster_stability(
    points: NDArray[np.floating],
    clusterings: Sequence[Clustering],
    *,
    bootstraps: int = 10,
    rows: int = 2000,
    seed: int = 0,
    threads: int | None = None,
) -> list[Estimate]:
    """Agreement of each clustering with those of bootstrap samples: the adjusted Rand index (Hubert and Arabie, 1985).

    Every bootstrap is clustered from scratch, by k-means++, and both clusterings label the same rows.

    Args:
        points: Rows, shape (n, k).
        clusterings: Clusterings of these rows.
        bootstraps: Bootstrap samples; all clusterings see the same ones.
        rows: Rows of each bootstrap, and rows that are labelled.
        seed: Seed of the samples.
        threads: Threads; every core by default.

    Returns:
        By clustering the mean over the bootstraps with the interval that holds 95 % of them: 1 where every bootstrap
        finds the same clusters, about 0 where they agree by chance only.
    """
    from sklearn.metrics import adjusted_rand_score
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(seed)
    count = min(rows, len(points))
    labelled = points[np.sort(rng.choice(len(points), count, replace=False, shuffle=False))]
    references = [nearest(labelled, clustering.centers) for clustering in clusterings]
    samples = [(rng.integers(0, len(points), count), int(rng.integers(2**31))) for _ in range(bootstraps)]

    def agreement(sample: tuple[NDArray[np.int64], int]) -> list[float]:
        drawn = points[sample[0]]
        result = []
        for clustering, reference in zip(clusterings, references, strict=True):
            # A bootstrap may hold fewer distinct rows than there are clusters: it did not find them.
            try:
                again = fit_kmeans(drawn, [clustering.k], starts=2, seed=sample[1], threads=1)[0]
            except DegenerateDataError:
                result.append(0.0)
                continue
            result.append(float(adjusted_rand_score(reference, nearest(labelled, again.centers))))
        return result

    with threadpool_limits(1), ThreadPoolExecutor(threads or default_threads()) as pool:
        agreements = np.array(list(pool.map(agreement, samples)))
    return [estimate(float(found.mean()), found) for found in agreements.T]
