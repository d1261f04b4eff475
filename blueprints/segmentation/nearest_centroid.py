"""Which centroid is nearest, for millions of rows a second: preprocessing and distances fused, in single precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blueprints.segmentation.moments import signed_log
from blueprints.segmentation.preprocessing import Preprocessing

# Rows at a time: every array of a chunk stays in the cache of a core.
_CHUNK = 8192
# Up to so many rows, as servers have them, a pass over all columns at once costs less than one over each.
_FEW = 64


class Assignment(NamedTuple):
    """Where rows belong.

    Attributes:
        indices: Position of the nearest centroid, int32 of shape (n,).
        distances: Distance to each centroid in standardised space, float32 of shape (n, centroids).
        confidence: Simplified silhouette (Vendramin, Campello and Hruschka, 2010), `(b - a) / max(a, b)` of the
            distances a to the nearest and b to the second nearest centroid: 0 on the border, 1 at the centre;
            float32 of shape (n,).
    """

    indices: NDArray[np.int32]
    distances: NDArray[np.float32]
    confidence: NDArray[np.float32]


class ClusterSums(NamedTuple):
    """What one pass of Lloyd's algorithm learns of rows; sums of parts of a table add up.

    Attributes:
        counts: Rows of each centroid, shape (centroids,).
        sums: Sums of their points, shape (centroids, features).
        inertia: Sum of the squared distances to the nearest centroid.
    """

    counts: NDArray[np.int64]
    sums: NDArray[np.float64]
    inertia: float

    def merged(self, other: ClusterSums) -> ClusterSums:
        """Sums over the rows of both."""
        return ClusterSums(self.counts + other.counts, self.sums + other.sums, self.inertia + other.inertia)

    def centers(self, before: NDArray[np.float64]) -> NDArray[np.float64]:
        """The means, shape (centroids, features); a centroid without rows stays where it was."""
        means = self.sums / np.maximum(self.counts, 1)[:, None]
        return np.where(self.counts[:, None] > 0, means, before)


class NearestCentroid:
    """Finds the nearest centroid of feature rows.

    Rows come as columns, such as those of an Arrow batch: arrays of one length, in the order of
    `Preprocessing.columns`, missing values as NaN. Thread-safe.

    Args:
        preprocessing: How feature rows become points.
        centers: Centroids in that space, shape (centroids, features), two or more.
    """

    def __init__(self, preprocessing: Preprocessing, centers: NDArray[np.floating]) -> None:
        self._preprocessing = preprocessing
        self._inverse_scales = (1 / preprocessing.scales).astype(np.float32)
        self._centers = centers.astype(np.float32)
        self._halves = (np.sum(np.asarray(centers, np.float64) ** 2, axis=1) / 2).astype(np.float32)

    def predict(self, columns: Sequence[NDArray[np.floating]]) -> NDArray[np.int32]:
        """Positions of the nearest centroids, shape (n,).

        Raises:
            ValueError: A value is infinite, or further out than single precision can tell.
        """
        indices = np.empty(len(columns[0]), np.int32)
        for start in range(0, len(indices), _CHUNK):
            part = slice(start, start + _CHUNK)
            indices[part] = _nearest(self._scores(self._points([column[part] for column in columns])))[0]
        return indices

    def assign(self, columns: Sequence[NDArray[np.floating]]) -> Assignment:
        """Positions, distances and confidence.

        Raises:
            ValueError: A value is infinite, or further out than single precision can tell.
        """
        rows = len(columns[0])
        indices = np.empty(rows, np.int32)
        distances = np.empty((rows, len(self._centers)), np.float32)
        confidence = np.zeros(rows, np.float32)
        for start in range(0, rows, _CHUNK):
            part = slice(start, start + _CHUNK)
            points = self._points([column[part] for column in columns])
            scores = self._scores(points)
            indices[part], best, second = _nearest(scores)
            halves = np.einsum("ij,ij->j", points, points) / 2
            for array in (scores, best, second):
                _to_distances(array, halves)
            distances[part] = scores.T
            np.divide(second - best, second, out=confidence[part], where=second > 0)
        return Assignment(indices, distances, confidence)

    def sums(self, columns: Sequence[NDArray[np.floating]]) -> ClusterSums:
        """What the next centroids are computed from.

        Raises:
            ValueError: A value is infinite, or further out than single precision can tell.
        """
        counts = np.zeros(len(self._centers), np.int64)
        sums = np.zeros(self._centers.shape)
        inertia = 0.0
        positions = np.arange(len(self._centers))[:, None]
        for start in range(0, len(columns[0]), _CHUNK):
            points = self._points([column[start : start + _CHUNK] for column in columns])
            indices, best, _ = _nearest(self._scores(points))
            sums += (indices == positions).astype(np.float32) @ points.T
            counts += np.bincount(indices, minlength=len(counts))
            # Half a squared distance may come out a rounding error below 0.
            best += np.einsum("ij,ij->j", points, points) / 2
            inertia += 2 * float(np.maximum(best, 0).sum(dtype=np.float64))
        return ClusterSums(counts, sums, inertia)

    def _points(self, columns: Sequence[NDArray[np.floating]]) -> NDArray[np.float32]:
        """Standardised rows, shape (features, rows)."""
        if len(columns[0]) <= _FEW:
            return self._few_points(columns)
        points = np.empty((len(self._preprocessing.columns), len(columns[0])), np.float32)
        learned = self._preprocessing
        for position, values in enumerate(columns):
            column = values if values.dtype.kind == "f" else values.astype(np.float64)
            median, mean, inverse = learned.medians[position], learned.means[position], self._inverse_scales[position]
            point = points[position]
            if learned.logged[position]:
                # In single precision log(1 + x) errs by 1e-7, against a standard deviation of about 1.
                np.abs(column, out=point, casting="same_kind")
                np.add(point, np.float32(1), out=point)
                np.log(point, out=point)
                np.copysign(point, column, out=point, casting="same_kind")
                np.subtract(point, np.float32(mean), out=point)
                median = float(signed_log(np.asarray(median)))
            else:
                # Before the rounding to single precision, for columns far from 0.
                np.subtract(column, column.dtype.type(mean), out=point, casting="same_kind")
            np.multiply(point, inverse, out=point)
            norm = point @ point
            if np.isnan(norm):
                point[np.isnan(point)] = (median - mean) * inverse
                norm = point @ point
            if not np.isfinite(norm):
                raise self._infinite(position)
        return points

    def _few_points(self, columns: Sequence[NDArray[np.floating]]) -> NDArray[np.float32]:
        """The same in double precision, with a tenth of the calls."""
        learned = self._preprocessing
        rows = np.array(columns, np.float64).T
        np.copyto(rows, learned.medians, where=np.isnan(rows))
        rows[:, learned.logged] = signed_log(rows[:, learned.logged])
        with np.errstate(over="ignore", invalid="ignore"):
            points = np.ascontiguousarray(((rows - learned.means) / learned.scales).T, np.float32)
            norms = np.einsum("ij,ij->i", points, points)
        if not np.isfinite(norms).all():
            raise self._infinite(int(np.flatnonzero(~np.isfinite(norms))[0]))
        return points

    def _infinite(self, position: int) -> ValueError:
        name = self._preprocessing.columns[position]
        return ValueError(f"column {name!r} holds infinite values; give finite or missing ones")

    def _scores(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Half the squared distance without the half square of the row itself, shape (segments, rows)."""
        scores = self._centers @ points
        np.subtract(self._halves[:, None], scores, out=scores)
        return scores


def _nearest(
    scores: NDArray[np.float32],
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Position, least and second least of the scores of each column, shape (segments, n)."""
    best = np.minimum(scores[0], scores[1])
    second = np.maximum(scores[0], scores[1])
    indices = np.less(scores[1], scores[0]).astype(np.int32)
    for position, score in enumerate(scores[2:], start=2):
        np.putmask(indices, score < best, position)
        np.minimum(second, np.maximum(best, score), out=second)
        np.minimum(best, score, out=best)
    return indices, best, second


def _to_distances(scores: NDArray[np.float32], halves: NDArray[np.float32]) -> None:
    """Turns scores into distances, in place; `halves` are the half squares of the rows."""
    np.add(scores, halves, out=scores)
    np.multiply(scores, np.float32(2), out=scores)
    np.maximum(scores, 0, out=scores)
    np.sqrt(scores, out=scores)
