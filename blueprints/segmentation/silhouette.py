"""Silhouettes (Rousseeuw, 1987) of many clusterings in one pass over the pairs of rows, exact or from a sample.

A cell is a set of rows that every clustering keeps together. The distances from a row to all rows of a cell are added
up once, and every cluster of every clustering is a union of cells. No matrix of distances is ever held.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blueprints.estimates import Estimate
from blueprints.threads import default_threads

# Rows of one task: their features and sums stay in the cache of a core.
_BLOCK = 256


@dataclass(frozen=True)
class SilhouetteSample:
    """Silhouettes of a stratified sample of rows, each against all rows, beside cheap ones of every row.

    The cheap silhouette takes the root of the mean squared distance to a cluster for the mean distance, which needs
    centroids only. It correlates closely with the exact one, so the mean of their difference is known well from few
    rows (the difference estimator of Särndal, Swensson and Wretman, 1992, chapter 6).

    Attributes:
        cheap: Mean cheap silhouette of all rows, by clustering, shape (m,).
        residuals: Exact minus cheap silhouette of the sampled rows, shape (m, q).
        strata: Stratum of each sampled row, a number from 0, shape (q,).
        sizes: Rows of each stratum in all, shape (strata,).
    """

    cheap: NDArray[np.float64]
    residuals: NDArray[np.float64]
    strata: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def estimates(self) -> list[Estimate]:
        """Mean silhouette of each clustering with its 95 % interval."""
        return [self._estimate(cheap, residuals) for cheap, residuals in zip(self.cheap, self.residuals, strict=True)]

    def difference(self, first: int, second: int) -> Estimate:
        """Mean silhouette of one clustering minus that of another, on the same rows."""
        return self._estimate(self.cheap[first] - self.cheap[second], self.residuals[first] - self.residuals[second])

    def _estimate(self, cheap: float, residuals: NDArray[np.float64]) -> Estimate:
        from scipy.special import stdtrit

        strata = len(self.sizes)
        sampled = np.bincount(self.strata, minlength=strata)
        means = np.bincount(self.strata, residuals, strata) / sampled
        squares = np.bincount(self.strata, (residuals - means[self.strata]) ** 2, strata)
        shares = self.sizes / self.sizes.sum()
        value = float(cheap + shares @ means)
        # Variance of a stratified mean with the finite population correction (Cochran, 1977, equation 5.13).
        parts = shares**2 * (1 - sampled / self.sizes) * squares / np.maximum(sampled - 1, 1) / sampled
        variance = float(parts.sum())
        if variance <= 0:
            return Estimate(value=value, low=value, high=value)
        # Degrees of freedom by Satterthwaite (Cochran, 1977, equation 5.16).
        freedom = variance**2 / float(np.sum(parts**2 / np.maximum(sampled - 1, 1)))
        half = float(stdtrit(freedom, 0.975)) * variance**0.5
        return Estimate(value=value, low=value - half, high=value + half)


def exact_silhouettes(
    points: NDArray[np.floating], labelings: NDArray[np.integer], *, threads: int | None = None
) -> NDArray[np.float64]:
    """Mean silhouette of each clustering, equal to scikit-learn's `silhouette_score`.

    Args:
        points: Rows, finite, shape (n, k).
        labelings: Clusterings, each with the label of every row, shape (m, n).
        threads: Threads; every core by default.

    Returns:
        Means, shape (m,), -1 to 1. Rows that are alone in their cluster count 0.

    Raises:
        ValueError: A clustering has a single cluster, or is of other rows.
    """
    means: NDArray[np.float64] = silhouette_values(points, labelings, threads=threads).mean(axis=1, dtype=np.float64)
    return means


def silhouette_values(
    points: NDArray[np.floating],
    labelings: NDArray[np.integer],
    *,
    rows: NDArray[np.integer] | None = None,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Silhouette of each row in each clustering.

    Args:
        points: Rows, finite, shape (n, k).
        labelings: Clusterings, each with the label of every row, shape (m, n).
        rows: Positions of the rows that are asked for, shape (q,); all of them by default. They are always compared
            with all rows.
        threads: Threads; every core by default.

    Returns:
        Silhouettes, shape (m, q), -1 to 1.

    Raises:
        ValueError: A clustering has a single cluster, or is of other rows.
    """
    labels = _labels(points, labelings)
    chosen = np.arange(len(points)) if rows is None else np.asarray(rows)
    values = np.empty((len(labels), len(chosen)), np.float32)
    for group in _groups(labels, np.arange(len(labels))):
        _fill(values, group, _Cells.of(points, labels[group]), labels, chosen, threads)
    return values


def sampled_silhouettes(
    points: NDArray[np.floating],
    labelings: NDArray[np.integer],
    *,
    rows: int = 2000,
    seed: int = 0,
    threads: int | None = None,
) -> list[Estimate]:
    """Mean silhouette of each clustering with its 95 % interval, from a sample of rows against all rows.

    Arguments and errors are those of `sample_silhouettes`.
    """
    return sample_silhouettes(points, labelings, rows=rows, seed=seed, threads=threads).estimates()


def sample_silhouettes(
    points: NDArray[np.floating],
    labelings: NDArray[np.integer],
    *,
    rows: int = 2000,
    seed: int = 0,
    threads: int | None = None,
) -> SilhouetteSample:
    """Silhouettes of a sample of rows, stratified by the clusters of every clustering at once.

    Args:
        points: Rows, finite, shape (n, k).
        labelings: Clusterings, each with the label of every row, shape (m, n).
        rows: About how many rows to sample; each cell gives its share, and two at least.
        seed: Seed of the sample.
        threads: Threads; every core by default.

    Raises:
        ValueError: A clustering has a single cluster, or is of other rows.
    """
    labels = _labels(points, labelings)
    share = min(1.0, rows / len(points))
    rng = np.random.default_rng(seed)
    chosen = np.empty(0, np.int64)
    for group in _groups(labels, np.arange(len(labels))):
        cells = _Cells.of(points, labels[group])
        if not len(chosen):
            sizes, codes = cells.sizes, cells.codes
            chosen = np.concatenate([_draw(part, share, rng) for part in np.split(cells.order, cells.starts[1:-1])])
            values = np.empty((len(labels), len(chosen)), np.float32)
            cheap, residuals = np.empty(len(labels)), np.empty(values.shape)
        _fill(values, group, cells, labels, chosen, threads)
        places = cells.places(chosen)
        for position, union in zip(group, cells.unions, strict=True):
            mean, sampled = _cheap_silhouettes(cells, union, places)
            cheap[position], residuals[position] = mean, values[position] - sampled
    return SilhouetteSample(cheap, residuals, strata=codes[chosen].astype(np.int64), sizes=sizes)


@dataclass(frozen=True)
class _Cells:
    """Rows sorted by cell.

    Attributes:
        codes: Cell of each row, shape (n,).
        order: Rows sorted by cell, shape (n,).
        points: The sorted rows around their mean, filled up with zeros to a multiple of four features.
        starts: Where each cell starts among the sorted rows, and where the last one ends, shape (cells + 1,).
        unions: The cluster that each cell is a part of, by clustering, shape (m, cells).
    """

    codes: NDArray[np.int32]
    order: NDArray[np.int64]
    points: NDArray[np.float32]
    starts: NDArray[np.int64]
    unions: NDArray[np.integer]

    @classmethod
    def of(cls, points: NDArray[np.floating], labels: NDArray[np.integer]) -> _Cells:
        codes = _joint(labels)
        order = np.argsort(codes, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(codes))])
        rows = np.zeros((len(points), points.shape[1] + -points.shape[1] % 4), np.float32)
        for position, column in enumerate(points.T):
            rows[:, position] = (column - column.dtype.type(column.mean(dtype=np.float64)))[order]
        return cls(codes, order, rows, starts, labels[:, order[starts[:-1]]].astype(np.int32))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Rows of each cell."""
        return np.asarray(np.diff(self.starts), np.int64)

    @cached_property
    def totals(self) -> NDArray[np.float64]:
        """Sums of the points of each cell, shape (features, cells)."""
        return np.stack([np.add.reduceat(column, self.starts[:-1], dtype=np.float64) for column in self.points.T])

    @cached_property
    def squares(self) -> NDArray[np.float64]:
        """Sums of their squared norms, shape (cells,)."""
        norms = np.einsum("ij,ij->i", self.points, self.points)
        return np.asarray(np.add.reduceat(norms, self.starts[:-1], dtype=np.float64))

    def places(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """Where rows are among the sorted ones."""
        places = np.empty(len(self.order), np.int64)
        places[self.order] = np.arange(len(self.order))
        return np.asarray(places[rows], np.int64)


def _labels(points: NDArray[np.floating], labelings: NDArray[np.integer]) -> NDArray[np.integer]:
    """Labels from 0 without gaps, shape (m, n); the labelings themselves if they are that already."""
    if labelings.ndim != 2 or labelings.shape[1] != len(points):
        raise ValueError(f"labelings have the shape {labelings.shape}, not (clusterings, {len(points)})")
    lows, highs = labelings.min(axis=1), labelings.max(axis=1)
    if np.any(lows == highs):
        raise ValueError("a silhouette compares clusters: give two or more, not one")
    if not lows.any() and all(
        high < len(points) and np.bincount(row).all() for row, high in zip(labelings, highs, strict=True)
    ):
        return labelings
    return np.stack([np.unique(row, return_inverse=True)[1] for row in labelings])


def _joint(labels: NDArray[np.integer]) -> NDArray[np.int32]:
    """One code for the labels of each row in all clusterings, from 0 without gaps."""
    codes = labels[0].astype(np.int64)
    for row in labels[1:]:
        codes = codes * (int(row.max()) + 1) + row
        if int(codes.max()) > max(4 * len(codes), 1 << 22):
            codes = np.unique(codes, return_inverse=True)[1]
    occurs = np.bincount(codes) > 0
    numbers = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
    return np.asarray(numbers[codes])


def _groups(labels: NDArray[np.integer], part: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Clusterings that are passed over together: few enough for cells of some size."""
    cells = int(_joint(labels[part]).max()) + 1
    if len(part) == 1 or cells <= max(256, labels.shape[1] // 64):
        return [part]
    return [group for half in np.array_split(part, 2) for group in _groups(labels, half)]


def _draw(rows: NDArray[np.int64], share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    count = min(len(rows), max(2, round(share * len(rows))))
    return rng.choice(rows, count, replace=False, shuffle=False)


def _fill(
    values: NDArray[np.float32],
    group: NDArray[np.int64],
    cells: _Cells,
    labels: NDArray[np.integer],
    rows: NDArray[np.integer],
    threads: int | None,
) -> None:
    """Writes the silhouettes of rows in the clusterings of one group."""
    kernel = _compiled_kernel()
    places = cells.places(rows)
    counts = cells.unions.max(axis=1) + 1
    ends = np.cumsum(counts)
    unions = cells.unions + (ends - counts)[:, None]
    sizes = [np.bincount(union, cells.sizes)[:, None] for union in cells.unions]

    def run(start: int) -> None:
        block = slice(start, start + _BLOCK)
        queries = np.ascontiguousarray(cells.points[places[block]].T)
        sums = np.zeros((ends[-1], queries.shape[1]))
        kernel(queries, cells.points, cells.starts, unions, sums)
        for position, part, size in zip(group, np.split(sums, ends[:-1]), sizes, strict=True):
            own = labels[position, rows[block]]
            at = own, np.arange(len(own))
            others = size[own, 0] - 1
            a = part[at] / np.maximum(others, 1)
            values[position, block] = _silhouettes(a, part / size, own, others > 0)

    with ThreadPoolExecutor(threads or default_threads()) as pool:
        list(pool.map(run, range(0, len(places), _BLOCK)))


def _silhouettes(
    a: NDArray[np.floating], means: NDArray[np.floating], own: NDArray[np.integer], others: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """Silhouettes from mean distances to a row's own cluster, (rows,), and to all, (clusters, rows); uses them up."""
    means[own, np.arange(len(own))] = np.inf
    b = means.min(axis=0)
    larger = np.maximum(a, b)
    b -= a
    return np.asarray(np.divide(b, larger, out=np.zeros_like(b), where=others & (larger > 0)))


def _cheap_silhouettes(
    cells: _Cells, union: NDArray[np.integer], places: NDArray[np.int64]
) -> tuple[float, NDArray[np.floating]]:
    """Silhouettes with the root of the mean squared distance for the mean distance: their mean, and some rows' own."""
    counts = cells.sizes
    sizes = np.bincount(union, counts)
    centers = np.stack([np.bincount(union, column) for column in cells.totals], axis=1) / sizes[:, None]
    norms = (centers**2).sum(axis=1)
    radii = np.maximum(np.bincount(union, cells.squares) / sizes - norms, 0)
    offsets, factors = (norms + radii).astype(np.float32)[:, None], (2 * centers).astype(np.float32)
    swell = (sizes / np.maximum(sizes - 1, 1)).astype(np.float32)

    def silhouettes(points: NDArray[np.float32], own: NDArray[np.integer]) -> NDArray[np.floating]:
        squared = offsets - factors @ points.T
        squared += np.einsum("ij,ij->i", points, points)
        np.sqrt(np.maximum(squared, 0, out=squared), out=squared)
        a = squared[own, np.arange(len(own))] * np.sqrt(swell[own])
        return _silhouettes(a, squared, own, sizes[own] > 1)

    own = np.repeat(union.astype(np.int16 if len(sizes) < 1 << 15 else np.int32), counts)
    total = 0.0
    for start in range(0, len(own), 4096):
        part = slice(start, start + 4096)
        total += float(silhouettes(cells.points[part], own[part]).sum(dtype=np.float64))
    return total / len(own), silhouettes(cells.points[places], own[places])


def _add_distances(
    queries: NDArray[np.float32],
    points: NDArray[np.float32],
    starts: NDArray[np.int64],
    unions: NDArray[np.integer],
    sums: NDArray[np.float64],
) -> None:
    """Adds the distances from queries, shape (features, queries), to the rows of each cluster.

    The innermost loops run over the queries, so they are vectorised however small the cells are.
    """
    width, last = queries.shape[1], queries.shape[0] - 4
    squared, part = np.zeros(width, np.float32), np.zeros(width, np.float32)
    for cell in range(len(starts) - 1):
        # A sum in single precision has few terms; sums of sums are in double precision.
        for start in range(starts[cell], starts[cell + 1], 256):
            part[:] = 0
            for row in range(start, min(start + 256, starts[cell + 1])):
                for first in range(0, last, 4):
                    x0, x1 = points[row, first], points[row, first + 1]
                    x2, x3 = points[row, first + 2], points[row, first + 3]
                    q0, q1, q2, q3 = queries[first], queries[first + 1], queries[first + 2], queries[first + 3]
                    if first == 0:
                        for at in range(width):
                            d0, d1, d2, d3 = x0 - q0[at], x1 - q1[at], x2 - q2[at], x3 - q3[at]
                            squared[at] = (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
                    else:
                        for at in range(width):
                            d0, d1, d2, d3 = x0 - q0[at], x1 - q1[at], x2 - q2[at], x3 - q3[at]
                            squared[at] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
                x0, x1, x2, x3 = points[row, last], points[row, last + 1], points[row, last + 2], points[row, last + 3]
                q0, q1, q2, q3 = queries[last], queries[last + 1], queries[last + 2], queries[last + 3]
                for at in range(width):
                    d0, d1, d2, d3 = x0 - q0[at], x1 - q1[at], x2 - q2[at], x3 - q3[at]
                    part[at] += np.sqrt(squared[at] + ((d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)))
            for cluster in unions[:, cell]:
                for at in range(width):
                    sums[cluster, at] += part[at]


@cache
def _compiled_kernel() -> Callable[..., Any]:
    import numba

    # Sums may be reordered, or they could not be vectorised; every value is finite.
    kernel: Callable[..., Any] = numba.njit(_add_distances, nogil=True, fastmath=True)
    return kernel
